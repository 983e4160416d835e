/* The files that tell how short memory is, as a program sees them: hardly. `pressure MODE` prints "good" or what is
 * wrong. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#define NUMBERS_MAX 64

/* The numbers above `above` that are open, of files below /proc and /sys that none of us has opened. */
static int open_numbers(int numbers[NUMBERS_MAX])
{
	int count = 0;

	for (int number = 3; number < 1100; number++) {
		char path[64], target[256];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", number);
		ssize_t length = readlink(path, target, sizeof(target) - 1);
		target[length > 0 ? length : 0] = 0;
		if (strncmp(target, "/proc/", 6) != 0 && strncmp(target, "/sys/", 5) != 0)
			continue;
		if (count == NUMBERS_MAX)
			complain("too many open files", number);
		numbers[count++] = number;
	}
	return count;
}

/* What stays open from the first thread on: of two files the one below /proc, by which the scavenger's start is told of a
 * sandbox; none where the C library doesn't say that it makes a thread. */
static int kept;

static void *do_nothing(void *argument)
{
	return argument;
}

static void make_first_thread(void)
{
	int open[NUMBERS_MAX];
	pthread_t thread;

	pthread_create(&thread, NULL, do_nothing, NULL);
	pthread_join(thread, NULL);
	kept = open_numbers(open);
	if (kept > 1)
		complain("open after the first thread", kept);
}

/* Waits until so many are open, or more than are kept if `count` is -1. */
static int wait_for_numbers(int count, int numbers[NUMBERS_MAX])
{
	for (int i = 0; i < 500; i++, sleep_ms(10)) {
		int now = open_numbers(numbers);
		/* Those that are read once are open for a moment. */
		if (now == count || (count < 0 && now > kept && (sleep_ms(50), open_numbers(numbers) == now)))
			return now;
	}
	return open_numbers(numbers);
}

static atomic_bool stop;

/* Never quite silent, so that the scavenger goes on looking. */
static void *work(void *seed)
{
	unsigned random = (unsigned)(size_t)seed + 1;

	while (!atomic_load(&stop)) {
		void *blocks[500];
		for (int i = 0; i < 500; i++) {
			random = random * 1103515245 + 12345;
			blocks[i] = malloc(16 + random % 30000);
			memset(blocks[i], 1, 16);
		}
		for (int i = 0; i < 500; i++)
			free(blocks[i]);
		sleep_ms(1);
	}
	return NULL;
}

static pthread_t threads[3];

static void threads_start(void)
{
	atomic_store(&stop, false);
	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
}

static void threads_end(void)
{
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

static void first_open_is(int expected)
{
	int number = open("/dev/null", O_RDONLY);

	if (number != expected)
		complain("the first open gets", number);
	close(number);
}

static void numbers(void)
{
	int open[NUMBERS_MAX];

	first_open_is(3);
	if (open_numbers(open) != 0)
		complain("open with one thread", open[0]);
	make_first_thread();
	threads_start();
	int count = wait_for_numbers(-1, open);
	if (count < kept + 1 || count > kept + 10)
		complain("open files", count);
	for (int i = 0; i < count; i++)
		if (open[i] < 1000 || fcntl(open[i], F_GETFD) != FD_CLOEXEC)
			complain("a file's number, or it stays open on exec", open[i]);
	first_open_is(3);
	threads_end();
	if (wait_for_numbers(kept, open) != kept)
		complain("open with one thread again", open[0]);
	/* The same again leaves no more. */
	for (int i = 0; i < 3; i++) {
		threads_start();
		if (wait_for_numbers(count, open) != count)
			complain("open files later", open_numbers(open));
		threads_end();
		if (wait_for_numbers(kept, open) != kept)
			complain("open with one thread again", open[0]);
	}
}

/* Closes all that it doesn't know, then uses the numbers itself. */
static void reused(void)
{
	int open_now[NUMBERS_MAX], ends[2];
	char said[64] = "";
	char name[] = "/tmp/quarry-pressure.XXXXXX";

	make_first_thread();
	threads_start();
	int count = wait_for_numbers(-1, open_now);
	if (count < kept + 1)
		complain("open files", count);
	closefrom(3);
	int file = mkstemp(name);
	unlink(name);
	if (file != 3 || pipe(ends) != 0 || write(ends[1], "every byte of it", 16) != 16 ||
	    write(file, "some text", 9) != 9 || lseek(file, 5, SEEK_SET) != 5)
		complain("a file and a pipe", errno);
	for (int i = 0; i < NUMBERS_MAX; i++)
		dup2(i % 2 == 0 ? ends[0] : file, i < count ? open_now[i] : 990 + i);
	sleep_ms(500);
	threads_end();
	sleep_ms(500);
	for (int i = 0; i < NUMBERS_MAX; i++)
		if (fcntl(i < count ? open_now[i] : 990 + i, F_GETFD) == -1)
			complain("it was closed", i);
	if (read(ends[0], said, sizeof(said)) != 16 || strcmp(said, "every byte of it") != 0)
		complain("the pipe's data", (long)strlen(said));
	if (lseek(file, 0, SEEK_CUR) != 5)
		complain("the file's position", (long)lseek(file, 0, SEEK_CUR));
}

static void forks(void)
{
	int open[NUMBERS_MAX];

	make_first_thread();
	threads_start();
	int count = wait_for_numbers(-1, open);
	for (int i = 0; i < 200; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			/* Until it has a scavenger that opens its own. */
			if (open_numbers(open) != count)
				complain("open in a child", open_numbers(open));
			first_open_is(3);
			if (i % 20 == 0) {
				threads_start();
				if (wait_for_numbers(count - kept, open) != count - kept)
					complain("open in a child with threads", open_numbers(open));
				threads_end();
			}
			_exit(0);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			complain("a child's status", status);
	}
	if (open_numbers(open) != count)
		complain("open after the forks", open_numbers(open));
	threads_end();
}

enum { NUMBERS_MOST = 11 };

/* The scavenger starts and opens while another thread forks. */
static void forks_early(void)
{
	int open[NUMBERS_MAX];

	make_first_thread();
	for (int i = 0; i < 100; i++) {
		threads_start();
		for (int j = 0; j < 5; j++) {
			int status;
			pid_t child = fork();
			if (child == 0) {
				if (open_numbers(open) > NUMBERS_MOST)
					complain("open in an early child", open_numbers(open));
				first_open_is(3);
				_exit(0);
			}
			if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
				complain("a child's status", status);
		}
		threads_end();
		if (wait_for_numbers(kept, open) != kept)
			complain("open with one thread again", open[0]);
	}
}

static void none(void)
{
	int open[NUMBERS_MAX];

	threads_start();
	sleep_ms(500);
	if (open_numbers(open) != 0)
		complain("open", open[0]);
	threads_end();
}

/* In a group with a limit of so many MiB: most of it is in use, and what a thread frees must go at once. */
static void short_of(size_t mib)
{
	size_t count = mib * 92 / 100;
	char **blocks = malloc(count * sizeof(*blocks));

	threads_start();
	for (size_t i = 0; i < count; i++)
		memset(blocks[i] = malloc(MIB), 1, MIB);
	sleep_ms(1000);
	for (size_t i = 0; i < count; i++)
		free(blocks[i]);
	threads_end();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	free(malloc(10));
	if (strcmp(mode, "numbers") == 0)
		numbers();
	else if (strcmp(mode, "reused") == 0)
		reused();
	else if (strcmp(mode, "forks") == 0)
		forks();
	else if (strcmp(mode, "forks-early") == 0)
		forks_early();
	else if (strcmp(mode, "none") == 0)
		none();
	else if (strcmp(mode, "short") == 0)
		short_of(strtoul(argv[2], NULL, 10));
	else
		return 127;
	dprintf(1, "good\n");
	return 0;
}

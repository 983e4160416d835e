/* The scavenger as a program sees it: memory that goes back while nobody calls malloc, and a thread that disturbs
 * nothing. `scavenger MODE` prints "good" or what is wrong. Reads what the kernel says without allocating. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#ifdef CORE
#include "quarry/quarry.h"
#define malloc quarry_malloc
#define free quarry_free
#endif

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- What the kernel says ---- */

/* How many threads there are; the id of the one called "quarry", 0 if there is none. */
static int tasks(int *scavenger)
{
	struct entry {
		uint64_t number;
		int64_t next;
		unsigned short bytes;
		unsigned char type;
		char name[];
	};
	static _Thread_local char buffer[4096] __attribute__((aligned(8)));
	int count = 0;
	int folder = open("/proc/self/task", O_RDONLY | O_DIRECTORY);

	*scavenger = 0;
	for (long got; (got = syscall(SYS_getdents64, folder, buffer, sizeof(buffer))) > 0;) {
		for (long at = 0; at < got; at += ((struct entry *)(buffer + at))->bytes) {
			struct entry *entry = (struct entry *)(buffer + at);
			char path[64], name[32];
			if (entry->name[0] == '.')
				continue;
			count++;
			snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->name);
			file_read(path, name, sizeof(name));
			if (strcmp(name, "quarry\n") == 0)
				*scavenger = atoi(entry->name);
		}
	}
	close(folder);
	return count;
}

static int scavenger_now(void)
{
	int id;

	tasks(&id);
	return id;
}

/* True if it happens in time: there is a scavenger, or there is none. */
static bool wait_for_scavenger(bool there, long milliseconds)
{
	for (long end = now_ms() + milliseconds; now_ms() < end; sleep_ms(10))
		if ((scavenger_now() != 0) == there)
			return true;
	return false;
}

/* ---- Work ---- */

/* So many bytes in blocks of many sizes, touched, then freed: a thread that has done this has a heap. */
static void work(size_t bytes, unsigned random)
{
	void *chain = NULL;

	for (size_t sum = 0; sum < bytes;) {
		random = random * 1103515245 + 12345;
		size_t size = 16 + (random >> 8) % (random >> 28 == 0 ? 20000 : 1000);
		void **block = malloc(size);
		if (block == NULL)
			complain("malloc", (long)size);
		memset(block, 1, size);
		*block = chain;
		chain = block;
		sum += size;
	}
	while (chain != NULL) {
		void *next = *(void **)chain;
		free(chain);
		chain = next;
	}
}

static atomic_int working;
static atomic_bool stop;

static void *work_and_wait(void *bytes)
{
	work((size_t)bytes, (unsigned)(size_t)bytes ^ (unsigned)(size_t)pthread_self());
	atomic_fetch_sub(&working, 1);
	while (!atomic_load(&stop))
		sleep_ms(20);
	return NULL;
}

static void *work_on(void *seed)
{
	while (!atomic_load(&stop))
		work(MIB, (unsigned)(size_t)seed);
	return NULL;
}

static void start(pthread_t *threads, int count, void *(*run)(void *), size_t argument)
{
	atomic_store(&working, count);
	atomic_store(&stop, false);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)(argument + (size_t)i)) != 0)
			complain("pthread_create", i);
}

static void end(pthread_t *threads, int count)
{
	atomic_store(&stop, true);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void wait_for_work(void)
{
	while (atomic_load(&working) > 0)
		sleep_ms(1);
}

/* ---- Modes ---- */

static atomic_size_t peak;

static void *fill_and_wait(void *bytes)
{
	size_t count = (size_t)bytes / 1000;
	void **blocks = malloc(count * sizeof(*blocks));

	for (size_t i = 0; i < count; i++)
		memset(blocks[i] = malloc(i % 2000 + 1), 1, i % 2000 + 1);
	atomic_fetch_sub(&working, 1);
	wait_for_work();
	size_t now = resident();
	if (now > atomic_load(&peak))
		atomic_store(&peak, now);
	/* One in a thousand stays, so that slabs stay in use. */
	for (size_t i = 0; i < count; i++)
		if (i % 1000 != 0)
			free(blocks[i]);
	while (!atomic_load(&stop))
		sleep_ms(20);
	return blocks;
}

/* Eight threads allocate 200 MB, free it and fall silent. */
static void silent(void)
{
	pthread_t threads[8];
	size_t now = 0;

	start(threads, 8, fill_and_wait, 25 * MIB);
	wait_for_work();
	for (long last = now_ms() + 5000; now_ms() < last; sleep_ms(50)) {
		now = resident();
		if (atomic_load(&peak) > 200 * MIB && now < atomic_load(&peak) / 5)
			return end(threads, 8);
	}
	dprintf(1, "%zu MiB of %zu are left\n", now / MIB, atomic_load(&peak) / MIB);
	_exit(2);
}

static void alone(void)
{
	int id;

	for (int i = 0; i < 300; i++) {
		work(i % 10 == 0 ? 20 * MIB : MIB, (unsigned)i);
		if (tasks(&id) != 1)
			complain("threads", tasks(&id));
		sleep_ms(i % 50 == 0 ? 50 : 0);
	}
}

static void *work_then_end(void *bytes)
{
	work(3 * MIB, 5);
	sleep_ms(300 + (long)(size_t)bytes * 50);
	work(3 * MIB, 5);
	return NULL;
}

/* main's thread goes first. */
static void leave(bool scavenger_expected)
{
	pthread_t threads[4];

	start(threads, 4, work_then_end, 0);
	if (wait_for_scavenger(true, 2000) != scavenger_expected)
		complain("scavenger expected", scavenger_expected);
	dprintf(1, "good\n");
	pthread_exit(NULL);
}

static void *work_then_rest(void *argument)
{
	work(3 * MIB, 5);
	atomic_fetch_sub(&working, 1);
	sleep_ms(1500);
	return argument;
}

/* The same, with threads that end without a call, when the scavenger has long nothing to do. */
static void leave_quietly(void)
{
	pthread_t threads[4];

	start(threads, 4, work_then_rest, 0);
	wait_for_work();
	if (!wait_for_scavenger(true, 1000))
		complain("no scavenger", 0);
	dprintf(1, "good\n");
	pthread_exit(NULL);
}

static void off(void)
{
	pthread_t threads[4];

	start(threads, 4, work_and_wait, 3 * MIB);
	wait_for_work();
	if (wait_for_scavenger(true, 500))
		complain("scavenger", scavenger_now());
	end(threads, 4);
}

static atomic_int handled;
static int scavenger_id;
static atomic_bool handled_wrongly;

static void handler(int signal)
{
	if ((int)syscall(SYS_gettid) == scavenger_id)
		atomic_store(&handled_wrongly, true);
	atomic_fetch_add(&handled, 1);
}

/* The scavenger is started by one of these: their masks are as they were, only what the program has blocked itself. */
static void *work_and_check_mask(void *bytes)
{
	sigset_t now;

	work((size_t)bytes, 11);
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	for (int i = 1; i <= SIGRTMAX; i++)
		if (sigismember(&now, i) != (i == SIGWINCH))
			complain("a thread's mask is changed", i);
	return work_and_wait((void *)MIB);
}

static void signals(void)
{
	pthread_t threads[4];
	char path[64], text[4096];
	sigset_t blocked_here;
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigemptyset(&blocked_here);
	sigaddset(&blocked_here, SIGWINCH);
	pthread_sigmask(SIG_SETMASK, &blocked_here, NULL);
	start(threads, 4, work_and_check_mask, 3 * MIB);
	if (!wait_for_scavenger(true, 3000))
		complain("no scavenger", 0);
	scavenger_id = scavenger_now();
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", scavenger_id);
	file_read(path, text, sizeof(text));
	char *blocked = strstr(text, "SigBlk:");
	if (blocked == NULL)
		complain("no SigBlk", 0);
	uint64_t mask = strtoull(blocked + 7, NULL, 16);
	/* The kernel and the C library (32 to 34) keep some for themselves; what its own instructions raise is not blocked. */
	for (int i = 1; i <= SIGRTMAX; i++) {
		bool own = i == SIGSYS || i == SIGSEGV || i == SIGBUS || i == SIGILL || i == SIGFPE || i == SIGTRAP;
		bool blocked_now = (mask >> (i - 1) & 1) != 0;
		if (i != SIGKILL && i != SIGSTOP && (i < 32 || i >= SIGRTMIN) && blocked_now == own)
			complain("the scavenger blocks, or doesn't block, signal", i);
	}
	end(threads, 4);

	/* What is sent to the process goes to the program's own threads. */
	start(threads, 2, work_and_wait, 3 * MIB);
	wait_for_work();
	if (!wait_for_scavenger(true, 3000))
		complain("no second scavenger", 0);
	scavenger_id = scavenger_now();
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 1; i <= 50; i++) {
		kill(getpid(), SIGUSR1);
		for (int j = 0; atomic_load(&handled) < i && j < 1000; j++)
			sleep_ms(1);
		if (atomic_load(&handled) != i)
			complain("signals handled", atomic_load(&handled));
	}
	if (atomic_load(&handled_wrongly))
		complain("signals handled by the scavenger", 1);
	end(threads, 2);
}

static void *work_once(void *seed)
{
	work(2 * MIB, (unsigned)(size_t)seed);
	return NULL;
}

/* In a child: one thread until a second one has allocated; then a scavenger, and it ends. */
static void child_lives(bool second)
{
	pthread_t thread;
	int id;

	alarm(60);
	for (int i = 0; i < 20; i++) {
		work(MIB / 10, (unsigned)i);
		if (tasks(&id) != 1) {
			dprintf(1, "a child has a thread that it didn't start\n");
			_exit(3);
		}
	}
	if (second) {
		/* A second heap is a reason for a scavenger, whatever the parent's was doing. */
		start(&thread, 1, work_and_wait, MIB);
		if (!wait_for_scavenger(true, 3000)) {
			dprintf(1, "a child has no scavenger\n");
			_exit(4);
		}
		work(MIB, 3);
		end(&thread, 1);
	}
	exit(0);
}

static void fork_and_wait(bool second)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		complain("fork", errno);
	if (child == 0)
		child_lives(second);
	if (waitpid(child, &status, 0) != child || status != 0)
		complain("a child's status", status);
}

/* Threads come and go the while, so that the scavenger does. */
static void *storm(void *seed)
{
	while (!atomic_load(&stop)) {
		pthread_t threads[3];
		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, work_once, seed);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		sleep_ms(40);
	}
	return NULL;
}

static void forks(void)
{
	pthread_t threads[2];

	start(threads, 1, storm, 7);
	start(threads + 1, 1, work_on, 9);
	for (int i = 0; i < 200; i++)
		fork_and_wait(i % 4 == 0);
	end(threads, 2);
}

static void *fork_without_heap(void *argument)
{
	fork_and_wait(false);
	return argument;
}

/* The forking thread has no heap yet: the child's only thread gets one, which is no second. */
static void fork_first(void)
{
	pthread_t threads[4], forker;

	start(threads, 4, work_and_wait, 3 * MIB);
	wait_for_work();
	for (int i = 0; i < 20; i++) {
		pthread_create(&forker, NULL, fork_without_heap, NULL);
		pthread_join(forker, NULL);
	}
	end(threads, 4);
}

/* It comes with the second heap, goes when main is alone again, and comes again. */
static void goes(void)
{
	pthread_t threads[4];
	int id;

	for (int i = 0; i < 3; i++) {
		start(threads, 4, work_and_wait, 3 * MIB);
		wait_for_work();
		if (!wait_for_scavenger(true, 3000))
			complain("no scavenger in round", i);
		if (tasks(&id) != 6)
			complain("threads", tasks(&id));
		end(threads, 4);
		if (!wait_for_scavenger(false, 10000))
			complain("the scavenger doesn't end in round", i);
		if (tasks(&id) != 1)
			complain("threads in the end", tasks(&id));
	}
}

/* It sleeps without a timer by then, and nobody calls malloc any more. */
static void goes_quietly(void)
{
	pthread_t threads[4];
	int id;

	start(threads, 4, work_then_rest, 0);
	wait_for_work();
	if (!wait_for_scavenger(true, 1000))
		complain("no scavenger", 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	if (!wait_for_scavenger(false, 5000))
		complain("the scavenger doesn't end", scavenger_now());
	if (tasks(&id) != 1)
		complain("threads", tasks(&id));
}

/* The C library signals every thread for these, the scavenger too. */
static void identity(void)
{
	pthread_t threads[4];
	uid_t user[3];
	gid_t group[3];

	start(threads, 4, work_and_wait, 3 * MIB);
	if (!wait_for_scavenger(true, 3000))
		complain("no scavenger", 0);
	getresuid(&user[0], &user[1], &user[2]);
	getresgid(&group[0], &group[1], &group[2]);
	for (int i = 0; i < 20; i++) {
		if (setresgid(group[0], group[1], group[2]) != 0 || setresuid(user[0], user[1], user[2]) != 0 ||
		    seteuid(user[1]) != 0)
			complain("setresuid", errno);
		sleep_ms(5);
	}
	end(threads, 4);
}

static void leave_with(int code)
{
	pthread_t threads[4];

	start(threads, 4, work_on, 3);
	if (!wait_for_scavenger(true, 3000))
		complain("no scavenger", 0);
	dprintf(1, "good\n");
	if (code == 0)
		abort();
	exit(code);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (strcmp(mode, "silent") == 0)
		silent();
	else if (strcmp(mode, "alone") == 0)
		alone();
	else if (strcmp(mode, "leave") == 0)
		leave(true);
	else if (strcmp(mode, "leave-off") == 0)
		leave(false);
	else if (strcmp(mode, "leave-quietly") == 0)
		leave_quietly();
	else if (strcmp(mode, "off") == 0)
		off();
	else if (strcmp(mode, "signals") == 0)
		signals();
	else if (strcmp(mode, "forks") == 0)
		forks();
	else if (strcmp(mode, "fork-first") == 0)
		fork_first();
	else if (strcmp(mode, "goes") == 0)
		goes();
	else if (strcmp(mode, "goes-quietly") == 0)
		goes_quietly();
	else if (strcmp(mode, "identity") == 0)
		identity();
	else if (strcmp(mode, "exit") == 0)
		leave_with(7);
	else if (strcmp(mode, "abort") == 0)
		leave_with(0);
	else
		return 127;
	dprintf(1, "good\n");
	return 0;
}

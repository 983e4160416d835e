/* A sandbox that is set up after main has started: all that Quarry does from then on is done by calls that each sandbox
 * allows. The arguments: what the filter does with all others (kill, or the name of an error), then what is done in it.
 * Prints "good", or "no seccomp". */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "quarry/quarry.h"
#include "sandbox.h"

static void say(const char *text)
{
	write(1, text, strlen(text));
	write(1, "\n", 1);
}

static void finish(const char *text)
{
	say(text);
	_exit(strcmp(text, "good") != 0);
}

/* Found in the library at the start: the program isn't linked with it. */
#pragma weak quarry_purge
#pragma weak quarry_stats
#pragma weak quarry_stats_json
#pragma weak quarry_walk
#pragma weak quarry_describe

/* What a report and abort() call besides, and what the C library does at a thread's end. */
static const int of_abort[] = { SYS_prctl, SYS_rt_sigprocmask, SYS_gettid, SYS_getpid, SYS_tgkill };
static const int of_threads[] = { SYS_rt_sigprocmask };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void enter_by(unsigned action, const int *more, size_t more_count, unsigned flags)
{
	if (!enter_sandbox_by(action, more, more_count, flags))
		finish("no seccomp");
}

/* All threads. */
static void enter(unsigned action, const int *more, size_t more_count)
{
	enter_by(action, more, more_count, SECCOMP_FILTER_FLAG_TSYNC);
}

/* The calling one, and those that it makes. */
static void enter_alone(unsigned action, const int *more, size_t more_count)
{
	enter_by(action, more, more_count, 0);
}

static unsigned action_of(const char *name)
{
	static const struct {
		const char *name;
		int error;
	} errors[] = { { "EPERM", EPERM }, { "ENOSYS", ENOSYS }, { "EINVAL", EINVAL } };

	for (size_t i = 0; i < COUNT(errors); i++)
		if (strcmp(name, errors[i].name) == 0)
			return SECCOMP_RET_ERRNO | errors[i].error;
	return SECCOMP_RET_KILL_PROCESS;
}

/* ---- What is done in it ---- */

#define MIB ((size_t)1 << 20)
#define SLOTS 2000

struct slots {
	char *blocks[SLOTS];
	size_t bytes[SLOTS];
	uint64_t random;
};

static size_t draw(struct slots *slots, size_t bound)
{
	slots->random = slots->random * 6364136223846793005u + 1442695040888963407u;
	return (slots->random >> 33) % bound;
}

static void put(struct slots *slots, size_t i, char *block, size_t bytes)
{
	if (block == NULL)
		finish("no memory");
	block[0] = block[bytes - 1] = (char)i;
	slots->blocks[i] = block;
	slots->bytes[i] = bytes;
}

static void check(const struct slots *slots, size_t i)
{
	if (slots->blocks[i] != NULL && slots->blocks[i][0] != (char)i)
		finish("a block has changed");
}

/* Every kind of call, sizes up to some MiB. */
static void work(struct slots *slots, size_t rounds)
{
	for (size_t round = 0; round < rounds; round++) {
		size_t i = draw(slots, SLOTS);
		size_t large = draw(slots, 200) == 0 ? 3 * MIB : draw(slots, 20) == 0 ? 100000 : 3000;
		size_t bytes = 1 + draw(slots, large);
		void *block = NULL;
		check(slots, i);
		switch (draw(slots, 8)) {
		case 0: case 1:
			put(slots, i, realloc(slots->blocks[i], bytes), bytes);
			continue;
		case 2:
			free(slots->blocks[i]);
			put(slots, i, calloc(1, bytes), bytes);
			continue;
		case 3:
			free(slots->blocks[i]);
			put(slots, i, aligned_alloc(4096, bytes), bytes);
			continue;
		case 4:
			free(slots->blocks[i]);
			if (posix_memalign(&block, 64, bytes) != 0)
				finish("no memory");
			put(slots, i, block, bytes);
			continue;
		default:
			free(slots->blocks[i]);
			put(slots, i, malloc(bytes), bytes);
		}
	}
}

static void give_all(struct slots *slots)
{
	for (size_t i = 0; i < SLOTS; i++) {
		check(slots, i);
		free(slots->blocks[i]);
		slots->blocks[i] = NULL;
	}
}

static int visit(void *block, size_t size, void *context)
{
	(void)block;
	*(size_t *)context += size;
	return 0;
}

/* What tells, and what gives back; all but what is documented to ask the kernel for each page. */
static void tell_and_give_back(struct slots *slots)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	static char text[65536];
	size_t seen = 0;

	if (malloc_usable_size(slots->blocks[0]) < slots->bytes[0])
		finish("malloc_usable_size");
	(void)mallinfo2();
	malloc_trim(0);
	if (quarry_stats == NULL)
		return;
	if (quarry_stats(&stats) != 0 || stats.live_bytes == 0)
		finish("quarry_stats");
	quarry_stats_json(text, sizeof(text));
	quarry_walk(visit, &seen);
	if (seen == 0 || quarry_describe(slots->blocks[0]).kind != QUARRY_LIVE)
		finish("quarry_walk");
	quarry_purge(QUARRY_PURGE_CACHED);
	quarry_purge(QUARRY_PURGE_ALL);
	/* As it stands on standard error, once. */
	malloc_stats();
}

static struct slots main_slots = { .random = 1 };

/* The heap grows to twice its size, is given back, and grows again: runs are uncommitted and committed. */
static void all(void)
{
	work(&main_slots, 15000);
	tell_and_give_back(&main_slots);
	give_all(&main_slots);
	malloc_trim(0);
	work(&main_slots, 8000);
	char *burst[20];
	for (size_t i = 0; i < COUNT(burst); i++)
		memset(burst[i] = malloc(5 * MIB), 1, 5 * MIB);
	for (size_t i = 0; i < COUNT(burst); i++)
		free(burst[i]);
	malloc_trim(0);
	give_all(&main_slots);
}

/* ---- Threads ---- */

#define THREADS 4

static pthread_barrier_t barrier;
static int heaps_first;
static unsigned action;
static int each_enters;
static void *_Atomic handed[THREADS];

/* Threads that have a heap, or have never called anything; in the sandbox all allocate, free each other's, and end. */
static void *thread_run(void *argument)
{
	size_t self = (size_t)argument;
	struct slots *slots = mmap(NULL, sizeof(*slots), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	slots->random = self + 2;
	if (heaps_first)
		work(slots, 3000);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	if (each_enters)
		enter_alone(action, of_threads, COUNT(of_threads));
	work(slots, 6000);
	for (size_t i = 0; i < SLOTS; i++)
		free(atomic_exchange(&handed[(self + 1) % THREADS], malloc(i)));
	give_all(slots);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void threads(void)
{
	pthread_t made[THREADS];
	struct timespec time = { .tv_nsec = 400000000 };

	work(&main_slots, 3000);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&made[i], NULL, thread_run, (void *)i);
	pthread_barrier_wait(&barrier);
	/* The scavenger's files are open by then. */
	nanosleep(&time, NULL);
	if (each_enters)
		enter_alone(action, of_threads, COUNT(of_threads));
	else
		enter(action, of_threads, COUNT(of_threads));
	pthread_barrier_wait(&barrier);
	all();
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(made[i], NULL);
	/* The scavenger looks twice in a decay_ms, and ends when all others have. */
	uint32_t never = 0;
	time = (struct timespec){ .tv_nsec = 500000000 };
	syscall(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &time);
	all();
}

/* ---- Files ---- */

/* Of Quarry's, which close on exec. */
static unsigned open_files(void)
{
	unsigned count = 0;

	for (int number = 3; number < 1100; number++) {
		char path[64], name[256] = "";
		snprintf(path, sizeof(path), "/proc/self/fd/%d", number);
		if (readlink(path, name, sizeof(name) - 1) > 0 && (fcntl(number, F_GETFD) & FD_CLOEXEC) != 0)
			count += strstr(name, "/status") != NULL || strstr(name, "memfd:quarry") != NULL;
	}
	return count;
}

static void *do_nothing(void *argument)
{
	return argument;
}

/* None before there is a thread; then two, once. */
static void files(void)
{
	unsigned counts[3];

	free(malloc(100));
	for (size_t i = 0; i < COUNT(counts); i++) {
		pthread_t thread;
		counts[i] = open_files();
		pthread_create(&thread, NULL, do_nothing, NULL);
		pthread_join(thread, NULL);
	}
	printf("%u %u %u\n", counts[0], counts[1], counts[2]);
	exit(0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[2] : "";

	action = action_of(argv[1]);
	if (strcmp(what, "fresh") == 0) {
		/* Not even a first malloc before. */
		enter(action, NULL, 0);
		all();
	} else if (strcmp(what, "alone") == 0) {
		work(&main_slots, 1000);
		enter(action, NULL, 0);
		all();
	} else if (strcmp(what, "threads") == 0) {
		heaps_first = 1;
		threads();
	} else if (strcmp(what, "threads-each") == 0) {
		heaps_first = each_enters = 1;
		threads();
	} else if (strcmp(what, "threads-without") == 0) {
		threads();
	} else if (strcmp(what, "files") == 0) {
		files();
	} else if (strcmp(what, "double-free") == 0) {
		volatile char *block = malloc(100);
		enter(action, of_abort, COUNT(of_abort));
		free((void *)block);
		free((void *)block);
	} else {
		return 2;
	}
	say("good");
	_exit(0);
}

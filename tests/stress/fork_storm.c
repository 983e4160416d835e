/* 32 threads allocate while eight fork, with handlers that allocate: children that allocate, free what they inherited,
 * start threads of their own, some of them fork once more, and leave by _exit. The first argument says how long, in
 * milliseconds, the second how many forks there are at least. */
#include "stress/stress.h"

#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 32
#define FORKER_COUNT 8
#define CHILD_THREADS 4
#define SHELF_SIZE 512

static _Atomic(struct parcel *) shelf[SHELF_SIZE];
static _Atomic bool stop;
static _Atomic size_t forked;
static uint64_t end;
static size_t forks_wanted;

/* ---- Handlers, which stand within Quarry's: the thread that forks holds all of its locks ---- */

static _Thread_local struct parcel *of_handlers[2];

static void handler(void)
{
	uint64_t random = now_ms() | 1;

	for (size_t i = 0; i < 2; i++) {
		parcel_drop(of_handlers[i]);
		of_handlers[i] = parcel_make(&random);
		parcel_drop(parcel_make(&random));
	}
}

/* ---- Threads ---- */

static void exchange_one(uint64_t *random, _Atomic(struct parcel *) *places, size_t count)
{
	struct parcel *mine = draw(random, 2) == 0 ? parcel_make(random) : NULL;

	parcel_drop(atomic_exchange(&places[draw(random, count)], mine));
}

static void *allocate_all_the_time(void *argument)
{
	uint64_t random = (uintptr_t)argument * 7919 + 1;

	while (!atomic_load(&stop)) {
		for (size_t i = draw(&random, 200); i > 0; i--)
			exchange_one(&random, shelf, SHELF_SIZE);
		/* Forks find threads at all places of the code, and get processors. */
		usleep((useconds_t)draw(&random, 10000));
	}
	return NULL;
}

static void *allocate_for_a_while(void *argument)
{
	uint64_t random = (uintptr_t)argument * 104729 + 1;

	for (size_t i = 0; i < 200; i++)
		exchange_one(&random, shelf, SHELF_SIZE);
	return NULL;
}

static int count_block(void *block, size_t size, void *count)
{
	(void)block, (void)size;
	++*(size_t *)count;
	return 0;
}

static void expect_good(pid_t child)
{
	int status;

	MUST(child > 0 && waitpid(child, &status, 0) == child);
	MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Every sixteenth is a family; the others are alone, and short. */
static void live_as_child(size_t index, int generations)
{
	size_t threads_wanted = generations > 0 ? CHILD_THREADS : index % 2;
	pthread_t threads[CHILD_THREADS];
	uint64_t random = index * 31 + 17;
	size_t count = 0;

	alarm(120);
	for (size_t i = 0; i < 100; i++)
		exchange_one(&random, shelf, SHELF_SIZE);
	for (size_t i = 0; i < threads_wanted; i++)
		MUST(pthread_create(&threads[i], NULL, allocate_for_a_while, (void *)(uintptr_t)(index + i)) == 0);
	if (generations > 0) {
		pid_t child = fork();
		if (child == 0) {
			live_as_child(index + 100, generations - 1);
			_exit(0);
		}
		expect_good(child);
	}
	for (size_t i = 0; i < threads_wanted; i++)
		pthread_join(threads[i], NULL);
	/* What was inherited, and made. */
	for (size_t i = index % 2; i < SHELF_SIZE; i += generations > 0 ? 2 : 16)
		parcel_drop(atomic_exchange(&shelf[i], NULL));
	if (generations > 0) {
		if (index % 32 == 0)
			quarry_trim(0);
		MUST(quarry_walk(count_block, &count) == 0 && count < SHELF_SIZE + 1000);
	}
}

static void *fork_all_the_time(void *argument)
{
	(void)argument;
	while (now_ms() < end || atomic_load(&forked) < forks_wanted) {
		size_t index = atomic_fetch_add(&forked, 1);
		pid_t child = fork();
		if (child == 0) {
			live_as_child(index, index % 16 == 0);
			_exit(0);
		}
		expect_good(child);
	}
	for (size_t i = 0; i < 2; i++) {
		parcel_drop(of_handlers[i]);
		of_handlers[i] = NULL;
	}
	return NULL;
}

static void start(pthread_t *threads, size_t count, void *(*run)(void *))
{
	for (size_t i = 0; i < count; i++)
		MUST(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) == 0);
}

static void join(pthread_t *threads, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	pthread_t threads[THREAD_COUNT], forkers[FORKER_COUNT];

	end = now_ms() + duration_ms(argc, argv);
	forks_wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	MUST(pthread_atfork(handler, handler, handler) == 0);
	start(threads, THREAD_COUNT, allocate_all_the_time);
	start(forkers, FORKER_COUNT, fork_all_the_time);
	join(forkers, FORKER_COUNT);
	atomic_store(&stop, true);
	join(threads, THREAD_COUNT);
	for (size_t i = 0; i < SHELF_SIZE; i++)
		parcel_drop(shelf[i]);
	MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
	printf("%zu forks\n", (size_t)forked);
	return 0;
}

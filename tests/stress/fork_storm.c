/* 32 threads allocate while children are forked, eight at a time, that allocate, free what they inherited, start threads
 * of their own, fork once more, and leave by _exit. */
#include "stress/stress.h"

#include <sys/wait.h>
#include <unistd.h>

#define THREAD_COUNT 32
#define CHILD_COUNT 8
#define SHELF_SIZE 1024

static _Atomic(struct parcel *) shelf[SHELF_SIZE];
static _Atomic bool stop;

static void exchange_one(uint64_t *random, _Atomic(struct parcel *) *places, size_t count)
{
	struct parcel *mine = draw(random, 2) == 0 ? parcel_make(random) : NULL;

	parcel_drop(atomic_exchange(&places[draw(random, count)], mine));
}

static void *allocate_all_the_time(void *argument)
{
	uint64_t random = (uintptr_t)argument * 7919 + 1;

	while (!atomic_load(&stop))
		exchange_one(&random, shelf, SHELF_SIZE);
	return NULL;
}

static void *allocate_for_a_while(void *argument)
{
	uint64_t random = (uintptr_t)argument * 104729 + 1;

	for (size_t i = 0; i < 2000; i++)
		exchange_one(&random, shelf, SHELF_SIZE);
	return NULL;
}

static int count_block(void *block, size_t size, void *count)
{
	(void)block, (void)size;
	++*(size_t *)count;
	return 0;
}

static void live_as_child(size_t index, int generations)
{
	pthread_t threads[4];
	uint64_t random = index * 31 + 17;
	size_t count = 0;
	int status;

	for (size_t i = 0; i < 500; i++)
		exchange_one(&random, shelf, SHELF_SIZE);
	for (size_t i = 0; i < 4; i++)
		MUST(pthread_create(&threads[i], NULL, allocate_for_a_while, (void *)(uintptr_t)(index + i)) == 0);
	if (generations > 0) {
		pid_t child = fork();
		MUST(child >= 0);
		if (child == 0) {
			live_as_child(index + 100, generations - 1);
			_exit(0);
		}
		MUST(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	/* Every second block that was inherited or made. */
	for (size_t i = 0; i < SHELF_SIZE; i += 2)
		parcel_drop(atomic_exchange(&shelf[i], NULL));
	if (index % 2 == 0)
		quarry_trim(0);
	MUST(quarry_walk(count_block, &count) == 0 && count < SHELF_SIZE + 1000);
}

int main(int argc, char **argv)
{
	uint64_t end = now_ms() + duration_ms(argc, argv);
	pthread_t threads[THREAD_COUNT];
	size_t forked = 0;

	alarm(300);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		MUST(pthread_create(&threads[i], NULL, allocate_all_the_time, (void *)(uintptr_t)i) == 0);
	do {
		pid_t children[CHILD_COUNT];
		for (size_t i = 0; i < CHILD_COUNT; i++, forked++) {
			children[i] = fork();
			MUST(children[i] >= 0);
			if (children[i] == 0) {
				live_as_child(i, i % 2 == 0);
				_exit(0);
			}
		}
		for (size_t i = 0; i < CHILD_COUNT; i++) {
			int status;
			MUST(waitpid(children[i], &status, 0) == children[i]);
			MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		}
	} while (now_ms() < end);
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < SHELF_SIZE; i++)
		parcel_drop(shelf[i]);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
	printf("%zu children\n", forked);
	return 0;
}

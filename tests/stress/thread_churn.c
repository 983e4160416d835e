/* Threads that live for some hundred allocations, several at any time; what one leaves the next one frees. */
#include "stress/stress.h"

#include <unistd.h>

#define THREAD_COUNT 8
#define SHELF_SIZE 256

static _Atomic(struct parcel *) shelf[SHELF_SIZE];

static void *live(void *argument)
{
	uint64_t random = (uintptr_t)argument;

	for (size_t i = 0, count = 10 + draw(&random, 500); i < count; i++) {
		struct parcel *mine = parcel_make(&random);
		if (draw(&random, 4) == 0)
			mine = atomic_exchange(&shelf[draw(&random, SHELF_SIZE)], mine);
		parcel_drop(mine);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t end = now_ms() + duration_ms(argc, argv);
	pthread_t threads[THREAD_COUNT];
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	uint64_t random = 42;
	size_t lives = 0;

	alarm(300);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		MUST(pthread_create(&threads[i], NULL, live, (void *)(uintptr_t)(i + 1)) == 0);
	while (now_ms() < end || lives < 100) {
		size_t i = draw(&random, THREAD_COUNT);
		pthread_join(threads[i], NULL);
		MUST(pthread_create(&threads[i], NULL, live, (void *)(uintptr_t)(++lives * 2654435761u + 1)) == 0);
	}
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < SHELF_SIZE; i++)
		parcel_drop(shelf[i]);
	/* As many heaps as threads at a time, the first thread's, and the shared one. */
	MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
	MUST(stats.heap_count <= THREAD_COUNT + 2);
	MUST(stats.heap_count - stats.heap_pooled_count <= 2);
	quarry_trim(0);
	MUST(quarry_stats(&stats) == 0 && stats.slab_count == 0 && stats.dirty_bytes == 0);
	printf("%zu lives\n", lives);
	return 0;
}

/* Producers make blocks for one consumer and end before these are freed: the memory of heaps whose owners are gone, and
 * of those that sleep, comes back, and stays in proportion to what is live. */
#include "stress/stress.h"

#include <sched.h>
#include <unistd.h>

#define PRODUCER_COUNT 4
#define QUEUE_SIZE 4096
#define LIFE_BLOCKS 20000

static _Atomic(struct parcel *) queues[PRODUCER_COUNT][QUEUE_SIZE];
static _Atomic size_t heads[PRODUCER_COUNT];
static size_t tails[PRODUCER_COUNT];
static _Atomic size_t ended;

static void *produce(void *argument)
{
	size_t index = (uintptr_t)argument % PRODUCER_COUNT;
	uint64_t random = (uintptr_t)argument + 1;

	for (size_t i = 0; i < LIFE_BLOCKS; i++) {
		_Atomic(struct parcel *) *place = &queues[index][atomic_load(&heads[index]) % QUEUE_SIZE];
		while (atomic_load(place) != NULL)
			sched_yield();
		atomic_store(place, parcel_make(&random));
		atomic_fetch_add(&heads[index], 1);
	}
	atomic_fetch_add(&ended, 1);
	return NULL;
}

/* Frees what has come; true if there was something. */
static bool consume(size_t index)
{
	struct parcel *parcel = atomic_exchange(&queues[index][tails[index] % QUEUE_SIZE], NULL);

	if (parcel == NULL)
		return false;
	tails[index]++;
	parcel_drop(parcel);
	return true;
}

int main(int argc, char **argv)
{
	uint64_t end = now_ms() + duration_ms(argc, argv);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t generations = 0;

	alarm(300);
	do {
		pthread_t producers[PRODUCER_COUNT];
		atomic_store(&ended, 0);
		for (size_t i = 0; i < PRODUCER_COUNT; i++)
			MUST(pthread_create(&producers[i], NULL, produce,
			                    (void *)(uintptr_t)(generations * PRODUCER_COUNT + i)) == 0);
		for (bool busy = true; busy || atomic_load(&ended) < PRODUCER_COUNT;) {
			busy = false;
			/* The last quarter is freed when its owners are gone. */
			for (size_t i = 0; i < PRODUCER_COUNT; i++)
				if (atomic_load(&ended) == PRODUCER_COUNT || atomic_load(&heads[i]) - tails[i] > QUEUE_SIZE * 3 / 4)
					busy |= consume(i);
		}
		for (size_t i = 0; i < PRODUCER_COUNT; i++) {
			pthread_join(producers[i], NULL);
			while (consume(i))
				;
		}
		MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
		MUST(stats.heap_count <= PRODUCER_COUNT + 2);
		generations++;
	} while (now_ms() < end);
	/* Nothing is live: what slabs there are is what the last frees have not yet told of, and what is cached. */
	MUST(stats.slab_bytes < 64 << 20);
	quarry_trim(0);
	MUST(quarry_stats(&stats) == 0 && stats.slab_count == 0);
	printf("%zu generations\n", generations);
	return 0;
}

/* A burst and then silence: threads allocate 500 MB in blocks of 16 bytes to 64 KiB, free them all, and sleep.
 *
 * Stresses what an allocator gives back when nobody calls it again: clocks that only tick inside malloc and free stand
 * still here, and what lies in the caches of threads that sleep is out of the others' reach. Pools of workers that had
 * their rush hour (jemalloc's manual describes background threads as the remedy). --threads 1 is the main thread alone,
 * in a process that never has a second one. The program tells its phases by lines "PHASE name" on stdout and stays in
 * each for a moment; who started it looks at its resident memory, so that no call from in here wakes the allocator.
 */
#include "bench.h"
#include <pthread.h>

enum { MB = 1000000, BLOCK_SMALLEST = 16, BLOCK_LARGEST = 65536 };

static uint64_t thread_count = 20, burst_mb = 500, silent_ms = 5500, hold_ms = 150, seed = 1;
static pthread_barrier_t barrier; /* of all threads, at the end of each phase */

static void sleep_ms(uint64_t ms)
{
	struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void phase(const char *line, uint64_t ms)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		fail("cannot write to stdout");
	sleep_ms(ms);
}

/* Waits for the others; the main thread, number 0, then tells the phase, and all go on together. */
static void phase_end(uintptr_t number, const char *line, uint64_t ms)
{
	pthread_barrier_wait(&barrier);
	if (number == 0)
		phase(line, ms);
	pthread_barrier_wait(&barrier);
}

static void *burst(void *argument)
{
	uintptr_t number = (uintptr_t)argument;
	uint64_t state = seed + number, count = 0, share = burst_mb * MB / thread_count;
	size_t most = share / BLOCK_SMALLEST + 1;
	void **blocks = table_new(most, sizeof *blocks);

	phase_end(number, "PHASE start\n", hold_ms);
	for (uint64_t bytes = 0, next; bytes < share; bytes += next) {
		next = random_spread(&state, BLOCK_SMALLEST, BLOCK_LARGEST);
		blocks[count++] = block_new_touched(next);
	}
	shuffle(blocks, count, &state);
	phase_end(number, "PHASE peak\n", hold_ms);
	for (uint64_t i = 0; i < count; i++)
		block_free(blocks[i]);
	munmap(blocks, most * sizeof *blocks);
	phase_end(number, "PHASE freed\n", silent_ms);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"threads", &thread_count, 1, 1024, "threads that allocate at the same time; the main thread is one of them"},
	    {"mb", &burst_mb, 1, 100000, "MB that they hold together"},
	    {"silent-ms", &silent_ms, 0, 3600000, "how long nothing happens after the burst"},
	    {"hold-ms", &hold_ms, 0, 3600000, "how long each other phase is held"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	pthread_barrier_init(&barrier, NULL, (unsigned)thread_count);
	pthread_t threads[1024];
	for (uintptr_t i = 1; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, burst, (void *)i))
			fail("cannot create thread %llu", (unsigned long long)i);
	burst(NULL);
	phase("PHASE end\n", 0);
	return 0; /* the others are done, or have nothing left to do */
}

/* Bursts: 50 MB in small blocks are allocated and then freed, a little work is done, and the next burst comes.
 *
 * Stresses what an allocator does with pages that are all free at once: giving them back makes the next burst fault
 * them in again, keeping them costs memory that nobody uses. --keep N lets one block in N outlive its burst and be
 * freed in the next, so that few pages become free as a whole. --threads N: a thread does one burst and sleeps until
 * all others had theirs; what it keeps for itself, nobody can use meanwhile (facebook/rocksdb#4603). Batch jobs, page
 * loads, frames.
 */
#include "crew.h"

enum { MB = 1000000, BLOCK_SMALLEST = 16, BLOCK_LARGEST = 1024 };

static uint64_t thread_count = 1, bursts = 24, burst_mb = 50, keep = 0, work = 1000000, seed = 1;
static void **blocks, **kept; /* of this burst; of the last one. Whose turn it is uses them alone */
static uint64_t kept_count;
static uint64_t turn;         /* number of the burst that is on; protected by lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next_turn = PTHREAD_COND_INITIALIZER;
static volatile uint64_t work_result;

static void kept_free(void)
{
	while (kept_count)
		block_free(kept[--kept_count]);
}

static void burst(void)
{
	uint64_t count = 0;
	for (uint64_t bytes = 0, next; bytes < burst_mb * MB; bytes += next) {
		next = random_spread(&seed, BLOCK_SMALLEST, BLOCK_LARGEST);
		blocks[count++] = block_new(next);
	}
	kept_free();
	for (uint64_t i = 0; i < count; i++)
		if (keep && i % keep == 0)
			kept[kept_count++] = blocks[i];
		else
			block_free(blocks[i]);
	for (uint64_t n = 0; n < work; n++)
		work_result = random_next(&seed);
}

static void *take_turns(void *number)
{
	for (uint64_t mine = (uintptr_t)number; mine < bursts; mine += thread_count) {
		pthread_mutex_lock(&lock);
		while (turn != mine)
			pthread_cond_wait(&next_turn, &lock);
		burst();
		turn++;
		pthread_cond_broadcast(&next_turn);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"threads", &thread_count, 1, 4096, "threads that do a burst each in turn; with one it is the main thread"},
	    {"bursts", &bursts, 1, UINT64_MAX, "bursts in all"},
	    {"mb", &burst_mb, 1, 100000, "MB of each burst"},
	    {"keep", &keep, 0, UINT32_MAX, "one block in so many outlives its burst by one; 0 is none"},
	    {"work", &work, 0, UINT64_MAX, "steps of computation between bursts"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	blocks = table_new(burst_mb * MB / BLOCK_SMALLEST + 1, sizeof *blocks);
	kept = table_new(burst_mb * MB / BLOCK_SMALLEST + 1, sizeof *kept);

	uint64_t before = resident_kib(), start = now_ns();
	if (thread_count == 1)
		take_turns(0);
	else
		crew_run(thread_count, take_turns);
	uint64_t elapsed = now_ns() - start;
	kept_free();

	result("burst", (double)elapsed / (double)bursts / 1e6, "ms");
	result("at_rest", (double)(resident_kib() - before) / 1024, "MiB");
	return 0;
}

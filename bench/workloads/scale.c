/* A fixed amount of work divided among N threads, each with a set of its own: replace at random, 16-512 bytes.
 *
 * Stresses whether threads that share nothing stay out of each other's way: locks, shared lines, and with many more
 * threads than processors what becomes of a lock whose holder isn't running. The threads are started together at a
 * barrier. The usual scaling test since threadtest (Berger et al., ASPLOS 2000); thread pools look like this.
 */
#include "crew.h"

static uint64_t thread_count = 2, operations = 40000000, set_blocks = 1000, least = 16, most = 512;
static pthread_barrier_t all_there;

static void *replace(void *number)
{
	uint64_t seed = (uintptr_t)number, count = operations / thread_count;
	void **blocks = table_new(set_blocks, sizeof *blocks);
	pthread_barrier_wait(&all_there);
	for (uint64_t i = 0; i < set_blocks; i++)
		blocks[i] = block_new(random_between(&seed, least, most));
	for (uint64_t n = 0; n < count; n++) {
		uint64_t i = random_below(&seed, set_blocks);
		block_free(blocks[i]);
		blocks[i] = block_new(random_between(&seed, least, most));
	}
	for (uint64_t i = 0; i < set_blocks; i++)
		block_free(blocks[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"threads", &thread_count, 1, 4096, "threads"},
	    {"operations", &operations, 1, UINT64_MAX, "pairs of free and malloc, of all threads together"},
	    {"blocks", &set_blocks, 1, UINT32_MAX, "blocks in each thread's set"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");
	pthread_barrier_init(&all_there, NULL, (unsigned)thread_count);

	uint64_t start = now_ns();
	crew_run(thread_count, replace);
	result("pair", (double)(now_ns() - start) / (double)operations, "ns");
	return 0;
}

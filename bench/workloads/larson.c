/* Server threads that hand their blocks on: each thread replaces random blocks of a set, ends, and a new thread goes on
 * with the set it left behind.
 *
 * Stresses frees of blocks that another, often already ended, thread allocated: what becomes of a thread's memory at
 * its exit, and how fast a new thread gets going. The pattern of Larson and Krishnan, "Memory allocation for
 * long-running server applications" (ISMM 1998); sizes and set as in the usual "8 1000 5000" call. The number of
 * operations is fixed here instead of the time, so that memory is comparable. One operation is one free and one malloc.
 */
#include "crew.h"

static uint64_t chains = 2, generations = 50, operations = 50000, set_blocks = 5000, least = 8, most = 1000;

struct chain {
	_Alignas(128) void **blocks; /* set_blocks of them, handed from thread to thread */
	uint64_t seed;
};

static struct chain *all;

static void *serve(void *argument)
{
	struct chain *chain = argument;
	uint64_t seed = chain->seed;
	void **blocks = chain->blocks;
	for (uint64_t n = 0; n < operations; n++) {
		uint64_t i = random_below(&seed, set_blocks);
		block_free(blocks[i]);
		blocks[i] = block_new(random_between(&seed, least, most));
	}
	chain->seed = seed;
	return NULL;
}

/* One per chain: starts the next thread when the one before has ended, so that chains don't wait for each other. */
static void *relay(void *number)
{
	for (uint64_t g = 0; g < generations; g++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, serve, &all[(uintptr_t)number]))
			fail("cannot create a thread");
		pthread_join(thread, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t seed = 4141;
	const struct argument rows[] = {
	    {"threads", &chains, 1, 4096, "threads at any time"},
	    {"generations", &generations, 1, 1000000, "threads that follow each other"},
	    {"operations", &operations, 1, UINT64_MAX, "operations of each thread"},
	    {"blocks", &set_blocks, 1, UINT32_MAX, "blocks in each set"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");

	all = table_new(chains, sizeof *all);
	for (uint64_t c = 0; c < chains; c++) {
		all[c].seed = random_next(&seed);
		all[c].blocks = table_new(set_blocks, sizeof *all[c].blocks);
		for (uint64_t i = 0; i < set_blocks; i++)
			all[c].blocks[i] = block_new(random_between(&seed, least, most));
		shuffle(all[c].blocks, set_blocks, &seed);
	}

	uint64_t start = now_ns();
	crew_run(chains, relay);
	uint64_t elapsed = now_ns() - start;

	result("mops_per_s", (double)(chains * generations * operations) * 1e3 / (double)elapsed, "M");
	for (uint64_t c = 0; c < chains; c++)
		for (uint64_t i = 0; i < set_blocks; i++)
			block_free(all[c].blocks[i]);
	return 0;
}

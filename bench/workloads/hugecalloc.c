/* calloc of 16 MiB to 1 GiB, one page in 64 touched, then freed.
 *
 * Stresses whether zeroed memory from the kernel is zeroed once more, what is kept of freed huge blocks and cleared for
 * their next use, and whether huge pages make a sparse block resident as a whole. Sparse matrices, hash tables made for
 * the largest case, arenas, sanitizers' shadows. Each touched page is read first: it must be zero. Two blocks are live.
 */
#include "bench.h"

enum { LIVE = 2, PAGES_SKIPPED = 64 };

int main(int argc, char **argv)
{
	uint64_t operations = 24, least = 16u << 20, most = 1u << 30, seed = 1, touched = 0;
	const struct argument rows[] = {
	    {"operations", &operations, 1, UINT64_MAX, "blocks in all"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");
	char *blocks[LIVE] = {NULL};

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < operations; n++) {
		uint64_t bytes = random_spread(&seed, least, most);
		free(blocks[n % LIVE]);
		char *block = blocks[n % LIVE] = need(calloc(1, bytes));
		for (uint64_t at = 0; at < bytes; at += PAGES_SKIPPED * PAGE_BYTES, touched++) {
			if (block[at])
				fail("a block of calloc isn't zero at offset %llu", (unsigned long long)at);
			block[at] = 1;
		}
	}
	for (int i = 0; i < LIVE; i++)
		free(blocks[i]);
	result("touched_page", (double)(now_ns() - start) / (double)touched, "ns");
	return 0;
}

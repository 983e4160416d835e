/* Random replace: N live blocks of 32-256 bytes; each operation frees one at random and allocates another in its place.
 *
 * Stresses the pair malloc/free itself and, with many blocks live, how the allocator's own data behaves in the caches
 * (10^3 live fits the first level, 10^7 fits none). The steady state of caches, interpreters and servers; known from
 * cache-scratch-free simulators since Zorn and Grunwald's allocator studies (1992).
 */
#include "bench.h"

int main(int argc, char **argv)
{
	uint64_t live = 100000, operations = 20000000, least = 32, most = 256, seed = 1;
	const struct argument rows[] = {
	    {"live", &live, 1, UINT32_MAX, "blocks live at any time"},
	    {"operations", &operations, 1, UINT64_MAX, "pairs of free and malloc"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");

	void **blocks = table_new(live, sizeof *blocks);
	for (uint64_t i = 0; i < live; i++)
		blocks[i] = block_new(random_between(&seed, least, most));

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < operations; n++) {
		uint64_t i = random_below(&seed, live);
		block_free(blocks[i]);
		blocks[i] = block_new(random_between(&seed, least, most));
	}
	uint64_t elapsed = now_ns() - start;

	result("pair", (double)elapsed / (double)operations, "ns");
	for (uint64_t i = 0; i < live; i++)
		block_free(blocks[i]);
	return 0;
}

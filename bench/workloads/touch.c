/* Touches the first cache line of N blocks of SIZE bytes in turn, again and again; nothing is allocated meanwhile.
 *
 * Stresses where blocks begin: blocks that all start at the same offset from a large power of two fight for a few cache
 * sets, and every touch misses. Nodes with a header at the front of a large block - B-tree pages, matrices by rows,
 * buffers with their descriptor in front - pay for this in their own code, not in the allocator's. The effect is known
 * from index-aware placement ("The Influence of Malloc Placement on TSX", "Cache Index-Aware Memory Allocation", Afek,
 * Dice, Morrison, ISMM 2011).
 */
#include "bench.h"

int main(int argc, char **argv)
{
	uint64_t count = 1000, bytes = 40000, touches = 100000000;
	const struct argument rows[] = {
	    {"blocks", &count, 1, UINT32_MAX, "live blocks"},
	    {"bytes", &bytes, 8, UINT32_MAX, "size of each"},
	    {"touches", &touches, 1, UINT64_MAX, "touches in all"},
	};
	ARGUMENTS(argc, argv, rows);

	volatile uint64_t **blocks = table_new(count, sizeof *blocks);
	for (uint64_t i = 0; i < count; i++) {
		blocks[i] = need(malloc(bytes));
		*blocks[i] = 0;
	}

	uint64_t rounds = touches / count + 1;
	uint64_t start = now_ns();
	for (uint64_t round = 0; round < rounds; round++)
		for (uint64_t i = 0; i < count; i++)
			*blocks[i] += 1;
	uint64_t elapsed = now_ns() - start;

	for (uint64_t i = 0; i < count; i++)
		if (*blocks[i] != rounds)
			fail("block %llu lost its content", (unsigned long long)i);
	result("touch", (double)elapsed / (double)(rounds * count), "ns");
	for (uint64_t i = 0; i < count; i++)
		free((void *)blocks[i]);
	return 0;
}

/* Churn of middling and large blocks, 64 KiB to 25 MiB: each operation frees one of a few live blocks and allocates
 * another.
 *
 * Stresses what happens above the small classes: whether freed pages are kept for reuse or each operation pays for
 * mmap, munmap and a page fault per page - and how much is kept. The pattern of microsoft/mimalloc#447 (blocks of 5-25
 * MiB) and tarantool/tarantool#13202 (5 million faults): image, audio and network buffers. Sizes are spread evenly over
 * the logarithm. --every-page 1 writes to each page of a block, 0 to its first only.
 */
#include "bench.h"

static uint64_t every_page = 1;

static void *block_begin(uint64_t bytes)
{
	if (every_page)
		return block_new_touched(bytes);
	uint64_t *block = need(malloc(bytes));
	block[0] = bytes;
	block[1] = ~bytes;
	return block;
}

static void block_end(void *block)
{
	if (every_page)
		block_free(block);
	else {
		const uint64_t *start = block;
		if (start && start[1] != ~start[0])
			fail("a block lost its content");
		free(block);
	}
}

int main(int argc, char **argv)
{
	uint64_t live = 16, operations = 2000, least = 65536, most = 25u << 20, seed = 1;
	const struct argument rows[] = {
	    {"live", &live, 1, 1000000, "blocks live at any time"},
	    {"operations", &operations, 1, UINT64_MAX, "pairs of free and malloc"},
	    {"every-page", &every_page, 0, 1, "1 writes to every page of a block, 0 to the first"},
	    {"min", &least, PAGE_BYTES, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, PAGE_BYTES, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");

	void **blocks = table_new(live, sizeof *blocks);

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < operations; n++) {
		uint64_t i = random_below(&seed, live), bytes = random_spread(&seed, least, most);
		block_end(blocks[i]);
		blocks[i] = block_begin(bytes);
	}
	uint64_t elapsed = now_ns() - start;

	result("operation", (double)elapsed / (double)operations, "ns");
	for (uint64_t i = 0; i < live; i++)
		block_end(blocks[i]);
	return 0;
}

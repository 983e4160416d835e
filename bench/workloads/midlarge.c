/* Churn of middling and large blocks, 64 KiB to 25 MiB: each operation frees one of a few live blocks and allocates another.
 *
 * Stresses what happens above the small classes: whether freed pages are kept for reuse or each operation pays for mmap,
 * munmap and a page fault per page - and how much is kept. The pattern of microsoft/mimalloc#447 (blocks of 5-25 MiB) and
 * tarantool/tarantool#13202 (5 million faults): image, audio and network buffers. Sizes are spread evenly over the
 * logarithm. --every-page 1 writes to each page of a block, 0 to its first page only.
 */
#include "bench.h"

enum { SIZES = 1024 };

/* Sizes with equal ratios from least to most, without libm: the SIZES-th root by bisection. */
static void sizes_fill(uint64_t *sizes, uint64_t least, uint64_t most)
{
	double low = 1, high = 2;
	for (int i = 0; i < 60; i++) {
		double ratio = (low + high) / 2, grown = (double)least;
		for (int n = 1; n < SIZES; n++)
			grown *= ratio;
		*(grown < (double)most ? &low : &high) = ratio;
	}
	double bytes = (double)least;
	for (int n = 0; n < SIZES; n++, bytes *= low)
		sizes[n] = (uint64_t)bytes;
}

int main(int argc, char **argv)
{
	uint64_t live = 16, operations = 2000, every_page = 1, least = 65536, most = 25u << 20, seed = 1;
	const struct argument rows[] = {
	    {"live", &live, 1, 1000000, "blocks live at any time"},
	    {"operations", &operations, 1, UINT64_MAX, "pairs of free and malloc"},
	    {"every-page", &every_page, 0, 1, "1 writes to every page of a block, 0 to the first"},
	    {"min", &least, 1, UINT32_MAX, "smallest block in bytes"},
	    {"max", &most, 1, UINT32_MAX, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");

	static uint64_t sizes[SIZES];
	sizes_fill(sizes, least, most);
	char **blocks = table_new(live, sizeof *blocks);

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < operations; n++) {
		uint64_t i = random_below(&seed, live), bytes = sizes[random_below(&seed, SIZES)];
		free(blocks[i]);
		blocks[i] = need(malloc(bytes));
		for (uint64_t at = 0; at < (every_page ? bytes : 1); at += PAGE_BYTES)
			blocks[i][at] = (char)n;
	}
	uint64_t elapsed = now_ns() - start;

	result("operation", (double)elapsed / (double)operations, "ns");
	for (uint64_t i = 0; i < live; i++)
		free(blocks[i]);
	return 0;
}

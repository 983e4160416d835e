/* Random replace, and the same random touches of the same blocks without malloc and free, in turn: what is left of the
 * first less the second is the allocator's own work.
 *
 * Shows how that work grows with the number of live blocks. Most of what random replace takes with 10^7 blocks live is
 * the program's own misses: in its table, at a block's first line and at its last. They come with any allocator, and
 * hide whether its own data is where the processor finds it. Slices of both alternate, so that both see the same layout
 * and the same state of the machine. The processor has more touches under way at once when nothing comes between them:
 * what malloc and free take away of that counts as theirs. Sizes as in replace.c. Run by bench/targets.
 */
#include "bench.h"

enum { SLICES = 10 };

static uint64_t live = 1000, operations = 20000000, least = 32, most = 256, seed = 1;
static void **blocks;

static uint64_t replace_ns(uint64_t count)
{
	uint64_t start = now_ns();
	for (uint64_t n = 0; n < count; n++) {
		uint64_t i = random_below(&seed, live);
		block_free(blocks[i]);
		blocks[i] = block_new(random_between(&seed, least, most));
	}
	return now_ns() - start;
}

/* Reads and writes what replace_ns would, and draws as many numbers. */
static uint64_t touch_ns(uint64_t count)
{
	volatile uint64_t drawn;
	uint64_t start = now_ns();
	for (uint64_t n = 0; n < count; n++) {
		void **slot = &blocks[random_below(&seed, live)], *block = *slot;
		uint64_t bytes = block_check(block);
		drawn = random_between(&seed, least, most);
		block_mark(block, bytes);
		*slot = block;
	}
	(void)drawn;
	return now_ns() - start;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"live", &live, 1, UINT32_MAX, "blocks live at any time"},
	    {"operations", &operations, SLICES, UINT64_MAX, "pairs of free and malloc, and as many touches"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");

	blocks = table_new(live, sizeof *blocks);
	for (uint64_t i = 0; i < live; i++)
		blocks[i] = block_new(random_between(&seed, least, most));

	uint64_t each = operations / SLICES, replaced = 0, touched = 0;
	for (int slice = 0; slice < SLICES; slice++) {
		replaced += replace_ns(each);
		touched += touch_ns(each);
	}
	result("pair", (double)replaced / (double)(each * SLICES), "ns");
	result("touch", (double)touched / (double)(each * SLICES), "ns");
	_exit(fflush(stdout) ? 2 : 0); /* to free 10^7 blocks one by one would take longer than to measure */
}

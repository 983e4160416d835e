/* How many mappings does a process have after a long life with blocks of all sizes?
 *
 * Stresses what giving back leaves behind: each hole that is unmapped and each page range that is treated differently
 * splits a mapping in two, and at vm.max_map_count (65,530) mmap and madvise begin to fail in programs that have
 * plenty of memory (elasticsearch tells its users to raise it; jemalloc's "retain" is the default on Linux for this
 * reason). Blocks of 16 bytes to 8 MiB, each doubling as likely, live and die at random up to 2 GiB; then blocks
 * that grow by realloc among them. Only the ends of a block are written. Mappings are counted as the lines of
 * /proc/self/maps, now and then; the most is what counts.
 */
#include "bench.h"

enum { SLOTS = 100000, GROWING = 100, LOOKS = 100, BLOCK_SMALLEST = 16, BLOCK_LARGEST = 8 << 20 };
enum { GROWING_SMALLEST = 16384, GROWING_LARGEST = 32 << 20 };

static uint64_t operations = 2000000, live_mib = 2048, reallocs = 10000, seed = 1;
static void **slots;                /* SLOTS of them */
static uint32_t live[SLOTS];        /* the numbers of the used ones, in any order */
static uint32_t unused[SLOTS];      /* of the others */
static uint64_t live_count, unused_count, live_bytes;

static void one_ends(void)
{
	uint64_t at = random_below(&seed, live_count);
	uint32_t slot = live[at];
	live_bytes -= block_check(slots[slot]);
	free(slots[slot]);
	live[at] = live[--live_count];
	unused[unused_count++] = slot;
}

static void one_begins(void)
{
	uint64_t bytes = random_spread(&seed, BLOCK_SMALLEST, BLOCK_LARGEST);
	uint32_t slot = unused[--unused_count];
	slots[slot] = block_new(bytes);
	live[live_count++] = slot;
	live_bytes += bytes;
}

static void look(uint64_t step, uint64_t steps, uint64_t *most)
{
	if (step % (steps / LOOKS + 1) && step + 1 != steps)
		return;
	uint64_t now = mappings_count();
	*most = now > *most ? now : *most;
}

static uint64_t churn(void)
{
	uint64_t most = 0;
	for (uint64_t n = 0; n < operations; n++) {
		if (live_bytes > (live_mib << 20) - BLOCK_LARGEST || !unused_count)
			one_ends();
		else
			one_begins();
		look(n, operations, &most);
	}
	return most;
}

/* Blocks that grow by a quarter or so each time, and begin anew when they are large; others come and go between. */
static uint64_t grow(void)
{
	void *blocks[GROWING] = {NULL};
	uint64_t sizes[GROWING] = {0}, most = 0;
	for (uint64_t n = 0; n < reallocs; n++) {
		uint64_t at = random_below(&seed, GROWING);
		if (sizes[at] > GROWING_LARGEST) {
			block_free(blocks[at]);
			blocks[at] = NULL;
			sizes[at] = 0;
		}
		sizes[at] += sizes[at] / 8 + random_between(&seed, GROWING_SMALLEST, GROWING_SMALLEST + sizes[at] / 4);
		blocks[at] = need(realloc(blocks[at], sizes[at]));
		block_mark(blocks[at], sizes[at]);
		one_ends();
		one_begins();
		look(n, reallocs, &most);
	}
	for (int i = 0; i < GROWING; i++)
		block_free(blocks[i]);
	return most;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"operations", &operations, 1000, UINT64_MAX, "mallocs and frees together"},
	    {"live-mib", &live_mib, 64, 1 << 20, "MiB live at most"},
	    {"reallocs", &reallocs, 1, UINT64_MAX, "growing reallocs after that"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	slots = table_new(SLOTS, sizeof *slots);
	for (uint32_t i = 0; i < SLOTS; i++)
		unused[unused_count++] = i;

	uint64_t before = mappings_count();
	uint64_t churned = churn();
	uint64_t grown = grow();
	while (live_count)
		one_ends();
	result("vmas_before", (double)before, "count");
	result("vmas_churned", (double)churned, "count");
	result("vmas_grown", (double)grown, "count");
	result("vmas_after", (double)mappings_count(), "count");
	return 0;
}

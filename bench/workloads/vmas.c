/* Growing reallocs of large blocks that can't grow in place: how long does a move take, and how many mappings stay
 * behind?
 *
 * Stresses realloc above the small classes: copying to fresh pages, or moving the page tables (mremap), and whether
 * what was moved still merges with its neighbours in the kernel's list of mappings once it is freed. Growing vectors
 * and buffers; the limit on mappings (vm.max_map_count) is what such programs run into. One block grows step by step;
 * after each step a neighbour is allocated that fits just where the block lay before, so that it stands in the way of
 * the next.
 */
#include "bench.h"

enum { STEPS_MOST = 1000 };

/* Each page begins with its own number, so that a move that loses or swaps pages is found. */
static void pages_number(char *block, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to; at += PAGE_BYTES)
		memcpy(block + at, &at, sizeof at);
}

static void pages_check(const char *block, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		if (memcmp(block + at, &at, sizeof at) != 0)
			fail("realloc lost the page at offset %llu", (unsigned long long)at);
}

int main(int argc, char **argv)
{
	uint64_t steps = 20, step_kib = 1024, rounds = 10;
	const struct argument rows[] = {
	    {"steps", &steps, 1, STEPS_MOST, "growing reallocs of a block"},
	    {"step-kib", &step_kib, 4, 1 << 20, "growth of each in KiB, and the first size"},
	    {"rounds", &rounds, 1, 1000000, "times the whole is done, all blocks freed after each"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t step = step_kib * 1024, spent_ns = 0, old_bytes = 0, moves = 0, live = 0;
	char *neighbours[STEPS_MOST];

	uint64_t before = mappings_count();
	for (uint64_t round = 0; round < rounds; round++) {
		uint64_t bytes = step;
		char *block = need(malloc(bytes));
		pages_number(block, 0, bytes);
		for (uint64_t i = 0; i < steps; i++) {
			uintptr_t old = (uintptr_t)block;
			uint64_t start = now_ns();
			block = need(realloc(block, bytes + step));
			spent_ns += now_ns() - start;
			moves += (uintptr_t)block != old;
			old_bytes += bytes;
			pages_number(block, bytes, bytes + step);
			neighbours[i] = need(malloc(bytes));
			pages_number(neighbours[i], 0, PAGE_BYTES);
			bytes += step;
		}
		pages_check(block, bytes);
		uint64_t now = mappings_count();
		live = now > live ? now : live;
		for (uint64_t i = 0; i < steps; i++) {
			pages_check(neighbours[i], PAGE_BYTES);
			free(neighbours[i]);
		}
		free(block);
	}
	uint64_t after = mappings_count();

	/* Per MiB that a plain copy would have had to move, whether or not this one did. */
	result("move_MiB", (double)spent_ns / ((double)old_bytes / (1 << 20)), "ns");
	result("moves", (double)moves / (double)rounds, "count");
	result("vmas_before", (double)before, "count");
	result("vmas_live", (double)live, "count");
	result("vmas_after", (double)after, "count");
	return 0;
}

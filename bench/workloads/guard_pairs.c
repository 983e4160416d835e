/* What does a malloc and a free cost where many blocks live?
 *
 * Replaces blocks of one size, oldest first, and writes the first and the last byte of each new one: guard modes pay for
 * the block's pages, their guards, the faults of touching them, and two stacks of calls. The calls come from eight depths
 * in turn, in functions with frame pointers or without (--pointers 0: then tables must be read to find the callers).
 * The time is the processor's for this process, so that neighbours on a busy machine count less.
 */
#include "guard_kernel.h"

enum { DEPTHS = 8, DEPTH_LEAST = 4 };

static uint64_t live = 1000, operations = 100000, pointers = 1, bytes = 32, kernel;
static char **blocks;

static uint64_t processor_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void replace(uint64_t at)
{
	if (blocks[at])
		(kernel ? kernel_free : free)(blocks[at]);
	blocks[at] = kernel ? kernel_malloc(bytes) : need(malloc(bytes));
	blocks[at][0] = 1;
	blocks[at][bytes - 1] = 1;
}

#define DEEP(name, word) \
	__attribute__((noinline, optimize(word))) static void name(uint64_t left, uint64_t at) \
	{ \
		if (left == 0) \
			replace(at); \
		else \
			name(left - 1, at); \
		__asm__ volatile("" ::: "memory"); \
	}
DEEP(deep_with_pointers, "no-omit-frame-pointer")
DEEP(deep_without_pointers, "omit-frame-pointer")

static void round_of(uint64_t count)
{
	for (uint64_t n = 0; n < count; n++)
		(pointers ? deep_with_pointers : deep_without_pointers)(DEPTH_LEAST + n % DEPTHS, n % live);
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
		{ "live", &live, 1, 100000000, "blocks that live" },
		{ "operations", &operations, 1, UINT64_MAX >> 1, "pairs" },
		{ "pointers", &pointers, 0, 1, "1: callers keep frame pointers" },
		{ "bytes", &bytes, 1, 1 << 20, "of a block" },
		{ "kernel", &kernel, 0, 1, "1: no allocator, only what the kernel must do" },
	};
	ARGUMENTS(argc, argv, rows);
	blocks = table_new(live, sizeof(*blocks));
	round_of(live);
	uint64_t start = processor_ns();
	round_of(operations);
	result("pair", (double)(processor_ns() - start) / (double)operations, "ns");
	return 0;
}

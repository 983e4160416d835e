/* False sharing: threads that write to small blocks of their own, which may lie in one cache line with another's.
 *
 * Stresses where blocks of different threads lie. Active: each thread allocates, writes and frees; an allocator that
 * gives neighbouring blocks to different threads makes them share lines. Passive: the first block of each was allocated
 * by the main thread, side by side, and freed by the thread that got it; an allocator that lets it be reused there
 * keeps the sharing alive. cache-thrash and cache-scratch of Hoard (Berger, McKinley, Blumofe, Wilson: ASPLOS 2000).
 */
#include "crew.h"

static uint64_t thread_count = 2, passive = 0, blocks_each = 200000, writes = 1000, bytes = 8;
static char **given; /* to each thread, where passive */

/* Every byte counts up as often as there are writes: the bytes of another thread's block would disturb it. */
static void block_use(volatile char *block)
{
	for (uint64_t at = 0; at < bytes; at++)
		block[at] = 0;
	for (uint64_t n = 0; n < writes; n++)
		block[n % bytes]++;
	for (uint64_t at = 0; at < bytes; at++)
		if (block[at] != (char)(writes / bytes + (at < writes % bytes)))
			fail("a block was written to by somebody else");
}

static void *write_and_free(void *number)
{
	char *block = given[(uintptr_t)number];
	for (uint64_t n = 0; n < blocks_each; n++) {
		if (!block)
			block = need(malloc(bytes));
		block_use(block);
		free(block);
		block = NULL;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"threads", &thread_count, 1, 4096, "threads"},
	    {"passive", &passive, 0, 1, "1 gives each thread a block of the main thread's first"},
	    {"blocks", &blocks_each, 1, UINT64_MAX, "blocks of each thread, one after the other"},
	    {"writes", &writes, 1, UINT64_MAX, "writes to each block"},
	    {"bytes", &bytes, 1, 4096, "size of a block"},
	};
	ARGUMENTS(argc, argv, rows);
	given = table_new(thread_count, sizeof *given);
	for (uint64_t i = 0; passive && i < thread_count; i++)
		given[i] = need(malloc(bytes));

	uint64_t start = now_ns();
	crew_run(thread_count, write_and_free);
	result("write", (double)(now_ns() - start) / (double)(blocks_each * writes), "ns");
	return 0;
}

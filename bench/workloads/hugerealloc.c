/* Large blocks that grow by half with each realloc: 16 of them from 64 KiB to 64 MiB in turn, then one to 1 GiB.
 *
 * Stresses how large blocks move: by copying to fresh pages, or by moving the page tables (mremap), and whether room to
 * grow is left. Buffers that are read to the end of a file, logs, columns of a data base. In turn, so that each block
 * stands in the way of the others. Every page is written as soon as it is there and holds its own offset to the end.
 */
#include "bench.h"

enum { BLOCKS = 16, FIRST_BYTES = 65536 };

static uint64_t grown_bytes;

/* Returns the block's new place, its new pages written. */
static char *grow(char *block, uint64_t from, uint64_t to)
{
	block = need(realloc(block, to));
	for (uint64_t at = from; at < to; at += PAGE_BYTES)
		memcpy(block + at, &at, sizeof at);
	grown_bytes += to - from;
	return block;
}

/* By half, in whole pages, not beyond most. */
static uint64_t next_bytes(uint64_t bytes, uint64_t most)
{
	uint64_t more = (bytes + bytes / 2 + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	return !bytes ? FIRST_BYTES : more < most ? more : most;
}

static void check_and_free(char *block, uint64_t bytes)
{
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		if (memcmp(block + at, &at, sizeof at) != 0)
			fail("realloc lost the page at offset %llu", (unsigned long long)at);
	free(block);
}

int main(int argc, char **argv)
{
	uint64_t each_mib = 64, last_mib = 1024;
	const struct argument rows[] = {
	    {"each-mib", &each_mib, 1, 1 << 20, "MiB that each of the 16 grows to"},
	    {"last-mib", &last_mib, 1, 1 << 20, "MiB that the last one grows to"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t each = each_mib << 20, last = last_mib << 20;
	char *blocks[BLOCKS] = {NULL}, *alone = NULL;

	uint64_t start = now_ns();
	for (uint64_t bytes = 0, more; bytes < each; bytes = more) {
		more = next_bytes(bytes, each);
		for (int i = 0; i < BLOCKS; i++)
			blocks[i] = grow(blocks[i], bytes, more);
	}
	for (int i = 0; i < BLOCKS; i++)
		check_and_free(blocks[i], each);
	for (uint64_t bytes = 0, more; bytes < last; bytes = more) {
		more = next_bytes(bytes, last);
		alone = grow(alone, bytes, more);
	}
	check_and_free(alone, last);
	result("grown_MiB", (double)(now_ns() - start) / ((double)grown_bytes / (1 << 20)), "ns");
	return 0;
}

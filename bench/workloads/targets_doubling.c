/* A block that doubles by realloc from 1 MiB to 2 GiB, every page written.
 *
 * Shows whether a large block is copied as it grows - twice the memory for as long as that takes, and a pass over all of
 * it - or its pages are moved. Each page holds its own offset to the end. Time in realloc alone; where the allocator says
 * how much it moved (quarry_stats_json), what was at a new place and not moved counts as copied. Run by bench/targets.
 */
#include "bench.h"
#include <dlfcn.h>

static char figures[1 << 20];

/* Bytes that Quarry moved instead of copying them, or -1 under another allocator. */
static double moved_bytes(void)
{
	size_t (*stats_json)(char *, size_t);
	*(void **)&stats_json = dlsym(RTLD_DEFAULT, "quarry_stats_json");
	if (!stats_json)
		return -1;
	size_t length = stats_json(figures, sizeof figures);
	const char *at = length && length < sizeof figures ? strstr(figures, "\"moved_bytes\":") : NULL;
	if (!at)
		fail("quarry_stats_json says nothing of moved_bytes");
	return strtod(at + strlen("\"moved_bytes\":"), NULL);
}

static void pages_write(char *block, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to; at += PAGE_BYTES)
		memcpy(block + at, &at, sizeof at);
}

int main(int argc, char **argv)
{
	uint64_t first_mib = 1, last_mib = 2048;
	const struct argument rows[] = {
	    {"first-mib", &first_mib, 1, 1 << 20, "MiB of the first size"},
	    {"last-mib", &last_mib, 1, 1 << 20, "MiB at which it ends"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t bytes = first_mib << 20, last = last_mib << 20, spent_ns = 0, elsewhere = 0;

	char *block = need(malloc(bytes));
	pages_write(block, 0, bytes);
	while (bytes < last) {
		uintptr_t before = (uintptr_t)block;
		uint64_t more = 2 * bytes < last ? 2 * bytes : last, start = now_ns();
		block = need(realloc(block, more));
		spent_ns += now_ns() - start;
		elsewhere += (uintptr_t)block != before ? bytes : 0;
		pages_write(block, bytes, more);
		bytes = more;
	}
	for (uint64_t at = 0; at < bytes; at += PAGE_BYTES)
		if (memcmp(block + at, &at, sizeof at) != 0)
			fail("realloc lost the page at offset %llu", (unsigned long long)at);

	double moved = moved_bytes();
	result("realloc", (double)spent_ns / 1e6, "ms");
	result("peak_to_size", (double)peak_kib() * 1024 / (double)bytes, "count");
	if (moved >= 0)
		result("copied", moved < (double)elsewhere ? ((double)elsewhere - moved) / (1 << 20) : 0, "MiB");
	free(block);
	return 0;
}

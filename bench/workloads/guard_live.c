/* How many blocks can live at once, and what memory does each take?
 *
 * Guard modes that split a mapping for each block end at vm.max_map_count. Resident memory is what /proc says when all
 * live, less what it said before; page tables stand beside it.
 */
#include "bench.h"

static uint64_t count = 1000000, bytes = 32;

int main(int argc, char **argv)
{
	const struct argument rows[] = {
		{ "blocks", &count, 1, 100000000, "blocks that live at once" },
		{ "bytes", &bytes, 1, 1 << 20, "of a block" },
	};
	ARGUMENTS(argc, argv, rows);
	char **blocks = table_new(count, sizeof(*blocks));
	memset(blocks, 0, count * sizeof(*blocks));
	free(need(malloc(bytes)));
	uint64_t resident = resident_kib(), tables = proc_kib("/proc/self/status", "VmPTE:");
	uint64_t start = now_ns();
	for (uint64_t i = 0; i < count; i++) {
		blocks[i] = malloc(bytes);
		if (!blocks[i])
			fail("no memory after %llu blocks", (unsigned long long)i);
		blocks[i][0] = 1;
	}
	uint64_t made = now_ns() - start;
	result("per_block", (double)(resident_kib() - resident) * 1024 / (double)count, "bytes");
	result("tables_per_block", (double)(proc_kib("/proc/self/status", "VmPTE:") - tables) * 1024 / (double)count, "bytes");
	result("mappings", (double)mappings_count(), "count");
	result("malloc", (double)made / (double)count, "ns");
	for (uint64_t i = 0; i < count; i++)
		free(blocks[i]);
	return 0;
}

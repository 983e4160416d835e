/* A tiny program: one malloc, and at the end of main what the process holds in memory.
 *
 * Shows what a process pays for its allocator before it has done anything: pages of the library that were touched, its
 * tables, the first region. From /proc/self/smaps_rollup, which counts pages; the counters behind statm and VmHWM may be
 * off by more than all of this. With --quiet 1 nothing is read or printed, for counting system calls. Run by
 * bench/targets.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	uint64_t bytes = 100, quiet = 0;
	const struct argument rows[] = {
	    {"bytes", &bytes, BLOCK_LEAST, BLOCK_MOST, "size of the one block"},
	    {"quiet", &quiet, 0, 1, "1: reads and prints nothing"},
	};
	ARGUMENTS(argc, argv, rows);
	void *block = block_new(bytes);

	if (!quiet) {
		/* Both before stdio allocates. */
		uint64_t rss = proc_kib("/proc/self/smaps_rollup", "\nRss:");
		uint64_t private_dirty = proc_kib("/proc/self/smaps_rollup", "\nPrivate_Dirty:");
		result("rss", (double)rss, "KiB");
		result("private_dirty", (double)private_dirty, "KiB");
	}
	block_free(block);
	return 0;
}

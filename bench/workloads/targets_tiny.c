/* A tiny program: one malloc, and at the end of main what the process holds in memory.
 *
 * Shows what a process pays for its allocator before it has done anything: pages of the library that were touched, its
 * tables, the first region. From /proc/self/smaps_rollup, which counts pages; the counters behind statm and VmHWM may be
 * off by more than all of this. With --quiet 1 nothing is read or printed, for counting system calls. Run by
 * bench/targets.
 */
#include "bench.h"

/* The KiB behind a key of smaps_rollup. */
static double kib_of(const char *text, const char *key)
{
	const char *line = strstr(text, key);
	if (!line)
		fail("/proc/self/smaps_rollup has no %s", key);
	return (double)strtoull(line + strlen(key), NULL, 10);
}

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
		char text[4096];
		int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
		ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
		if (length <= 0)
			fail("cannot read /proc/self/smaps_rollup");
		close(fd);
		text[length] = 0;
		result("rss", kib_of(text, "\nRss:"), "KiB");
		result("private_dirty", kib_of(text, "\nPrivate_Dirty:"), "KiB");
	}
	block_free(block);
	return 0;
}

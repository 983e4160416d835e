/* A forked child frees what it inherited: 10^6 blocks of 64 bytes. How much of that does the kernel have to copy?
 *
 * Stresses where an allocator writes down that a block is free: a link in the block itself, or a mark beside many
 * others, makes the child's own copy of every page that is written. Servers that fork after loading their data (redis
 * while it saves, pre-forking web servers of Ruby and Python: "copy-on-write friendly"). Counted by Private_Dirty in
 * the child's /proc/self/smaps_rollup, before and after.
 */
#include "bench.h"
#include <sys/wait.h>

static uint64_t blocks_count = 1000000, block_bytes = 64;

/* Without the allocator. */
static uint64_t private_dirty_kib(void)
{
	return proc_kib("/proc/self/smaps_rollup", "Private_Dirty:");
}

/* The child: tells its growth through the pipe. */
static void child_run(void **blocks, int pipe_end)
{
	uint64_t before = private_dirty_kib();
	for (uint64_t i = 0; i < blocks_count; i++)
		free(blocks[i]);
	uint64_t after = private_dirty_kib(), growth = after > before ? after - before : 0;
	if (write(pipe_end, &growth, sizeof growth) != sizeof growth)
		_exit(1);
	_exit(0);
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"blocks", &blocks_count, 1, 1 << 30, "blocks that the child inherits and frees, in the order they were made"},
	    {"bytes", &block_bytes, BLOCK_LEAST, BLOCK_MOST, "bytes of each"},
	};
	ARGUMENTS(argc, argv, rows);
	void **blocks = table_new(blocks_count, sizeof *blocks);
	for (uint64_t i = 0; i < blocks_count; i++)
		blocks[i] = block_new(block_bytes);

	int ends[2], status;
	uint64_t growth;
	if (pipe(ends))
		fail("no pipe: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		fail("cannot fork: %s", strerror(errno));
	if (child == 0)
		child_run(blocks, ends[1]);
	close(ends[1]);
	int is_told = read(ends[0], &growth, sizeof growth) == sizeof growth;
	if (waitpid(child, &status, 0) != child || status != 0 || !is_told)
		fail("the child failed");
	for (uint64_t i = 0; i < blocks_count; i++)
		block_free(blocks[i]);
	result("growth", (double)growth / 1024, "MiB");
	result("growth_share", 100 * (double)growth * 1024 / (double)(blocks_count * block_bytes), "percent");
	return 0;
}

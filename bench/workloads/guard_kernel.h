/* The least that guarding every block can cost: no allocator at all, but what the kernel must do for each block. A page
 * of its own is touched, the next one is made a guard; when it is freed, it becomes a guard, too. No stacks, no bytes
 * that are filled or checked, no quarantine. */
#ifndef QUARRY_BENCH_GUARD_KERNEL_H
#define QUARRY_BENCH_GUARD_KERNEL_H

#include "bench.h"

#define KERNEL_GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, since Linux 6.13 */

static char *kernel_next, *kernel_end;

static inline void *kernel_malloc(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (kernel_next == kernel_end) {
		size_t total = (size_t)1 << 36;
		kernel_next = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (kernel_next == MAP_FAILED)
			fail("no address space of %zu bytes", total);
		kernel_end = kernel_next + total;
	}
	char *block = kernel_next;
	kernel_next += 2 * page;
	if (bytes > page || madvise(block + page, page, KERNEL_GUARD_INSTALL) != 0)
		fail("no guard: %s", bytes > page ? "more than a page is asked for" : strerror(errno));
	return block;
}

static inline void kernel_free(void *block)
{
	if (madvise(block, (size_t)sysconf(_SC_PAGESIZE), KERNEL_GUARD_INSTALL) != 0)
		fail("no guard: %s", strerror(errno));
}

#endif

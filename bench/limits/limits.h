/* What bump.c and live.c share: the names of the memalign family, on top of the one function that each provides. */
#ifndef QUARRY_BENCH_LIMITS_H
#define QUARRY_BENCH_LIMITS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { LEAST_ALIGNMENT = 16 };

void *malloc(size_t bytes);
void free(void *block);
void *realloc(void *block, size_t bytes);

/* A block of this alignment, a power of two of LEAST_ALIGNMENT or more; NULL with errno ENOMEM. */
void *aligned_take(size_t alignment, size_t bytes);

static inline uintptr_t round_up(uintptr_t value, size_t alignment)
{
	return (value + alignment - 1) & ~(uintptr_t)(alignment - 1);
}

static inline int is_power_of_two(size_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return aligned_take(alignment < LEAST_ALIGNMENT ? LEAST_ALIGNMENT : alignment, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
	return memalign(alignment, bytes);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t bytes)
{
	if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
		return EINVAL;
	int before = errno;
	void *block = memalign(alignment, bytes);
	errno = before;
	if (!block)
		return ENOMEM;
	*result = block;
	return 0;
}

EXPORT void *valloc(size_t bytes)
{
	return memalign((size_t)sysconf(_SC_PAGESIZE), bytes);
}

EXPORT void *pvalloc(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return bytes > PTRDIFF_MAX ? memalign(page, SIZE_MAX) : memalign(page, round_up(bytes, page));
}

EXPORT void *reallocarray(void *block, size_t count, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, bytes, &total)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, total);
}

#endif

/* The C library's names for the same functions, all in one object, so that a static link takes all or none. The
 * semantics are glibc's; man quarry(3) lists them. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/aligned.h"
#include "api/fast.h"
#include "api/resize.h"
#include "api/trim.h"
#include "base/bits.h"
#include "observe/info.h"
#include "observe/stats.h"
#include "space/purge.h"
#include "thread/scavenger.h"

/* glibc's numbers; musl has none. */
#ifndef M_TRIM_THRESHOLD
#define M_TRIM_THRESHOLD (-1)
#endif
#ifndef M_MXFAST
#define M_MXFAST 1
#endif

#define PUBLIC __attribute__((visibility("default")))

PUBLIC void *malloc(size_t size) { return fast_allocate(size); }
PUBLIC void free(void *block) { fast_release(block, "free"); }
PUBLIC void *realloc(void *block, size_t size) { return resize(block, size, "realloc"); }
PUBLIC void *aligned_alloc(size_t alignment, size_t size) { return aligned_memalign(alignment, size); }
PUBLIC void *memalign(size_t alignment, size_t size) { return aligned_memalign(alignment, size); }
PUBLIC int posix_memalign(void **block, size_t alignment, size_t size) { return aligned_posix(block, alignment, size); }
PUBLIC void *valloc(size_t size) { return aligned_valloc(size); }
PUBLIC void *pvalloc(size_t size) { return aligned_pvalloc(size); }
PUBLIC size_t malloc_usable_size(void *block) { return usable_size(block, "malloc_usable_size"); }

static COLD void *calloc_for_first_thread(size_t count, size_t size, const void *caller)
{
	scavenger_expect(caller);
	return aligned_calloc(count, size);
}

PUBLIC void *calloc(size_t count, size_t size)
{
	if (UNLIKELY(scavenger_first_thread_comes()))
		return calloc_for_first_thread(count, size, __builtin_return_address(0));
	return aligned_calloc(count, size);
}

PUBLIC void *reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	return multiply_checked(count, size, &bytes) ? resize(block, bytes, "reallocarray") : allocate_failed();
}

/* C23; not in glibc 2.36, so nothing declares them. */
PUBLIC void free_sized(void *block, size_t size);
PUBLIC void free_aligned_sized(void *block, size_t alignment, size_t size);
PUBLIC void free_sized(void *block, size_t size) { fast_release_said(block, size, 0, "free_sized"); }
PUBLIC void free_aligned_sized(void *block, size_t alignment, size_t size)
{
	fast_release_said(block, size, alignment, "free_aligned_sized");
}

/* Gone from glibc 2.26 for new programs, still there for old ones, whose blocks are ours. */
PUBLIC void cfree(void *block);
PUBLIC void cfree(void *block) { fast_release(block, "cfree"); }

PUBLIC int malloc_trim(size_t keep_bytes) { return trim(QUARRY_PURGE_ALL, keep_bytes, false) > 0; }
PUBLIC struct mallinfo2 mallinfo2(void) { return info_mallinfo2(); }
PUBLIC struct mallinfo mallinfo(void) { return info_mallinfo(); }
PUBLIC void malloc_stats(void) { stats_print(); }

PUBLIC int malloc_info(int options, FILE *stream)
{
	/* As in glibc: no option is defined, and the error is returned. */
	return options != 0 ? EINVAL : info_write_xml(stream);
}

/* What glibc refuses: above this. */
#define MXFAST_MAX ((int)(80 * sizeof(size_t) / 4))

/* 1: accepted, 0: out of range; as glibc says, also to parameters that nobody knows. M_TRIM_THRESHOLD is the bytes of
 * free spans that may stay resident. The others describe parts that Quarry doesn't have (arenas, fast bins, a
 * threshold for mmap), so there is nothing to change. */
PUBLIC int mallopt(int parameter, int value)
{
	switch (parameter) {
	case M_TRIM_THRESHOLD:
		purge_set_retain(value < 0 ? UINT64_MAX : (uint64_t)value);
		return 1;
	case M_MXFAST:
		return value >= 0 && value <= MXFAST_MAX;
	default:
		return 1;
	}
}

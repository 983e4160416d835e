/* Tells valgrind's memcheck about blocks, in builds configured with --enable-valgrind; nothing in others. In such a
 * build every call takes the slow path, so that only that one speaks. Used by src/api/ and src/block/. */
#ifndef QUARRY_BASE_MEMCHECK_H
#define QUARRY_BASE_MEMCHECK_H

#include "base/compiler.h"

#ifdef QUARRY_VALGRIND
#include <valgrind/memcheck.h>

#define MEMCHECK_BUILD true

/* Before the allocator writes to the block itself (calloc). */
static inline void memcheck_allocated(const void *block, size_t bytes, bool zero)
{
	VALGRIND_MALLOCLIKE_BLOCK(block, bytes, 0, zero);
}

/* While the block is still the caller's alone. */
static inline void memcheck_freed(const void *block)
{
	VALGRIND_FREELIKE_BLOCK(block, 0);
}

/* Before the allocator writes to memory that is nobody's block yet. */
static inline void memcheck_writable(const void *memory, size_t bytes)
{
	VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes);
}

static inline void memcheck_resized(const void *block, size_t old_bytes, size_t bytes)
{
	VALGRIND_RESIZEINPLACE_BLOCK(block, old_bytes, bytes, 0);
}

#else

#define MEMCHECK_BUILD false

static inline void memcheck_allocated(const void *block UNUSED, size_t bytes UNUSED, bool zero UNUSED) {}
static inline void memcheck_freed(const void *block UNUSED) {}
static inline void memcheck_writable(const void *memory UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_resized(const void *block UNUSED, size_t old_bytes UNUSED, size_t bytes UNUSED) {}

#endif

#endif

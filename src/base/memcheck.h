/* Tells valgrind about blocks, in builds configured with --enable-valgrind; nothing in others. In such a build every call
 * takes the slow path, so that only that one speaks. One library does for all tools: each hears what concerns it.
 *
 * memcheck  what is allocated, defined, freed
 * helgrind  whose a block is: its first accesses need no order with those of who had the memory before. What is nobody's
 *           block, or Quarry's own, is not looked at. Our locks and atomics stay untold: an order that only the allocator
 *           makes would hide races that the program has
 * DRD       all of these: it answers to both
 *
 * Used from src/space/ on. */
#ifndef QUARRY_BASE_MEMCHECK_H
#define QUARRY_BASE_MEMCHECK_H

#include "base/compiler.h"

#ifdef QUARRY_VALGRIND
#include <valgrind/memcheck.h>
#include <valgrind/helgrind.h>

#define MEMCHECK_BUILD true

/* What scripts/archive has made of the variables of all objects; in the shared library, none. */
extern char __start_quarry_variables[] __attribute__((weak, visibility("hidden")));
extern char __stop_quarry_variables[] __attribute__((weak, visibility("hidden")));
extern char __start_quarry_zeroes[] __attribute__((weak, visibility("hidden")));
extern char __stop_quarry_zeroes[] __attribute__((weak, visibility("hidden")));

/* Before the allocator writes to the block itself (calloc). */
static inline void memcheck_allocated(const void *block, size_t bytes, bool zero)
{
	VALGRIND_MALLOCLIKE_BLOCK(block, bytes, 0, zero);
	VALGRIND_HG_CLEAN_MEMORY(block, bytes);
}

/* While the block is still the caller's alone. */
static inline void memcheck_freed(const void *block, size_t bytes)
{
	VALGRIND_FREELIKE_BLOCK(block, 0);
	VALGRIND_HG_DISABLE_CHECKING(block, bytes);
}

/* Before the allocator reads the block for its own purposes: whoever frees a block need not have met all who wrote to it. */
static inline void memcheck_freeing(const void *block, size_t bytes)
{
	VALGRIND_HG_DISABLE_CHECKING(block, bytes);
}

/* Before the allocator writes to memory that is nobody's block yet. */
static inline void memcheck_writable(const void *memory, size_t bytes)
{
	VALGRIND_MAKE_MEM_UNDEFINED(memory, bytes);
	VALGRIND_HG_DISABLE_CHECKING(memory, bytes);
}

/* While what is added is nobody else's already, or what is taken away not yet. */
static inline void memcheck_resized(const void *block, size_t old_bytes, size_t bytes)
{
	VALGRIND_RESIZEINPLACE_BLOCK(block, old_bytes, bytes, 0);
	if (bytes > old_bytes)
		VALGRIND_HG_CLEAN_MEMORY((const char *)block + old_bytes, bytes - old_bytes);
	else
		VALGRIND_HG_DISABLE_CHECKING((const char *)block + bytes, old_bytes - bytes);
}

/* Quarry's own: no two threads' accesses to it are a mistake of the program's. */
static inline void memcheck_own(const volatile void *memory, size_t bytes)
{
	VALGRIND_HG_DISABLE_CHECKING(memory, bytes);
}

/* Variables of the objects of an archive. The shared library's are all that it has (api/preload.c). */
static inline void memcheck_own_variables(void)
{
	memcheck_own(__start_quarry_variables, (size_t)(__stop_quarry_variables - __start_quarry_variables));
	memcheck_own(__start_quarry_zeroes, (size_t)(__stop_quarry_zeroes - __start_quarry_zeroes));
}

#else

#define MEMCHECK_BUILD false

static inline void memcheck_allocated(const void *block UNUSED, size_t bytes UNUSED, bool zero UNUSED) {}
static inline void memcheck_freed(const void *block UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_freeing(const void *block UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_writable(const void *memory UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_resized(const void *block UNUSED, size_t old_bytes UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_own(const volatile void *memory UNUSED, size_t bytes UNUSED) {}
static inline void memcheck_own_variables(void) {}

#endif

#endif

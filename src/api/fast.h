/* The two paths that matter: malloc of a small size and free of a small block of the own thread, when the magazine
 * serves them. No call, no lock, no touch of the block; every check of the promise is in. Included by what exports
 * them, under their own and under libc's names. Their instructions are counted by tests/api/fast_path.sh. */
#ifndef QUARRY_API_FAST_H
#define QUARRY_API_FAST_H

#include "api/allocate.h"
#include "base/memcheck.h"
#include "thread/heap.h"

/* `slow`: what the forms differ in. */
ALWAYS_INLINE void *fast_allocate_by(size_t size, void *(*slow)(size_t size))
{
	/* size 0 wraps and takes the slow path, like all that is not small. */
	if (UNLIKELY(size - 1 >= SMALL_BYTES_MAX) || MEMCHECK_BUILD)
		return slow(size);
	struct magazine *magazine = thread_magazine(size_class_magazine[(size - 1) >> GRANULE_LOG2]);
	struct entry *top = magazine->top;
	void *block = top->block;
	if (UNLIKELY(block == NULL))
		return slow(size);
	magazine->top = top - 1;
	ledger_set(top->state, LEDGER_LIVE);
	return block;
}

ALWAYS_INLINE void *fast_allocate(size_t size)
{
	return fast_allocate_by(size, allocate_slow);
}

/* False: the slow path has to do it. `call`: see release_slow; size and alignment: release_said. Only the slow paths load
 * them. */
ALWAYS_INLINE bool fast_release_served(void *block, size_t size, size_t alignment, const char *call)
{
	/* NULL and other heaps' pointers wrap to far beyond the region. */
	uintptr_t offset = (uintptr_t)block - region_first.base;
	if (UNLIKELY(offset >= LOAD_ONCE(region_first.committed_bytes)) || MEMCHECK_BUILD)
		return false;
	struct span *span = (struct span *)((uintptr_t)&span_nobody +
	                                    LOAD_ONCE(region_first.page_map[offset >> UNIT_LOG2]));
	bool is_start;
	size_t index = block_index((uintptr_t)block - span->base,
	                           atomic_load_explicit(&span->multiplier, memory_order_relaxed), &is_start);
	if (UNLIKELY(!is_start))
		return false;
	uintptr_t distance = thread_heap_distance;
	if (UNLIKELY(LOAD_ONCE(span->owner) != distance)) {
		if (__builtin_constant_p(size))
			release_other(block, span, index, call);
		else
			release_other_said(block, span, index, size, alignment, call);
		return true;
	}
	ledger_byte *state = span->ledger + index;
	struct magazine *magazine = (struct magazine *)(span->magazine + distance);
	struct entry *top = magazine->top;
	if (UNLIKELY(LOAD_ONCE(*state) != LEDGER_LIVE))
		return false;
	if (UNLIKELY(top == magazine->limit)) {
		if (!slab_return_granted(span, state))
			release_full(span, block, state, size, alignment, call);
		return true;
	}
	ledger_set(state, LEDGER_CACHED);
	top[1] = (struct entry){ block, state };
	magazine->top = top + 1;
	return true;
}

ALWAYS_INLINE void fast_release(void *block, const char *call)
{
	if (!fast_release_served(block, GUARDED_UNSAID, 0, call))
		release_slow(block, call);
}

/* For the forms that say size and alignment (0: not said). */
ALWAYS_INLINE void fast_release_said(void *block, size_t size, size_t alignment, const char *call)
{
	if (!fast_release_served(block, size, alignment, call))
		release_said(block, size, alignment, call);
}

#endif

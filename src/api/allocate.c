/* Allocating and freeing, the slow paths: see allocate.h. */
#include "api/allocate.h"

#include <errno.h>
#include <string.h>

#include "api/fast.h"
#include "api/foreign.h"
#include "api/init.h"
#include "block/large.h"
#include "block/lookup.h"
#include "block/sweep.h"
#include "guard/report.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/shared.h"

void *allocate_failed(void)
{
	errno = ENOMEM;
	return NULL;
}

/* A block whose state is still CACHED or CACHED_ZERO, from the thread's own heap or the shared one. */
static struct entry take(unsigned class_index)
{
	struct magazine *magazine = thread_magazine((uintptr_t)class_index << MAGAZINE_LOG2);

	if (LIKELY(magazine->top->block != NULL))
		return *magazine->top--;
	init_ensure();
	purge_end_hold();
	struct heap *heap = life_heap();
	struct entry entry = heap != NULL ? heap_take(heap, class_index) : shared_take(class_index);
	sweep_tick();
	return entry;
}

static void *allocate_small(unsigned class_index)
{
	struct entry entry = take(class_index);

	if (UNLIKELY(entry.block == NULL))
		return allocate_failed();
	ledger_set(entry.state, LEDGER_LIVE);
	/* Not before: a child of a fork in between would find it free, and note it a second time. */
	memcheck_allocated(entry.block, size_classes[class_index].size, false);
	return entry.block;
}

static void *allocate_large(size_t size, size_t alignment, bool zeroed)
{
	init_ensure();
	purge_end_hold();
	sweep_tick();
	void *block = large_make(size, alignment, zeroed);
	if (UNLIKELY(block == NULL))
		return allocate_failed();
	memcheck_allocated(block, large_good_size(size), zeroed);
	return block;
}

void *allocate_slow(size_t size)
{
	if (size <= SMALL_BYTES_MAX)
		return allocate_small(size_class_of(size + (size == 0)));
	return allocate_large(size, GRANULE_BYTES, false);
}

void *allocate_zeroed(size_t size)
{
	if (size > SMALL_BYTES_MAX)
		return allocate_large(size, GRANULE_BYTES, true);

	unsigned class_index = size_class_of(size + (size == 0));
	struct entry entry = take(class_index);
	if (UNLIKELY(entry.block == NULL))
		return allocate_failed();
	bool zero = ledger_get(entry.state) == LEDGER_CACHED_ZERO;
	ledger_set(entry.state, LEDGER_LIVE);
	memcheck_allocated(entry.block, size_classes[class_index].size, zero);
	return zero ? entry.block : memset(entry.block, 0, size);
}

void *allocate_aligned(size_t alignment, size_t size)
{
	if (alignment <= GRANULE_BYTES)
		return fast_allocate(size);
	unsigned class_index = size_class_aligned(size, alignment);
	if (class_index == CLASS_COUNT)
		return allocate_large(size, alignment, false);
	return allocate_small(class_index);
}

/* The owner's frees when its magazine is full or not its own yet; the shared heap's. True if it was done here. */
static bool release_to_owner(struct span *slab, struct entry entry)
{
	struct heap *heap = life_heap_if_any();

	if (heap == NULL)
		return shared_owns(slab) && life_is_new() && shared_put(slab, entry);
	if (atomic_load_explicit(&slab->owner, memory_order_relaxed) != heap->distance)
		return false;
	ledger_set(entry.state, LEDGER_CACHED);
	heap_put(heap, slab, entry);
	return true;
}

void release_other(void *block, struct span *span, size_t index, const char *call)
{
	/* Large blocks, threads without a heap; and a descriptor that is made anew while a mistaken free looks at it. */
	if (UNLIKELY(span->kind != SPAN_SLAB) || UNLIKELY(index >= span->end_index) || UNLIKELY(thread_heap_distance == 0) ||
	    UNLIKELY(!ledger_end_life(&span->ledger[index], LEDGER_FREE)))
		release_slow(block, call);
	else
		heap_notify(span);
}

void release_full(struct span *slab, void *block, ledger_byte *state)
{
	ledger_set(state, LEDGER_CACHED);
	heap_put(heap_at(thread_heap_distance), slab, (struct entry){ block, state });
	sweep_tick();
}

void release_slow(void *block, const char *call)
{
	struct span *span;
	ledger_byte *state;

	if (block == NULL)
		return;
	if (!live_block(block, &span, &state)) {
		if (region_of(block) != NULL)
			report_bad_pointer(call, block);
		int saved_errno = errno;
		foreign_free(block, call);
		errno = saved_errno;
		return;
	}
	/* From here on nothing touches errno: src/os/ makes its system calls without it. */
	memcheck_freed(block);
	bool large = state == &span->large_state;
	if (!large && release_to_owner(span, (struct entry){ block, state })) {
		sweep_tick();
		return;
	}
	if (!ledger_end_life(state, LEDGER_FREE))
		report_bad_pointer(call, block);
	if (!large) {
		heap_notify(span);
		return;
	}
	large_release(span);
	sweep_tick();
}

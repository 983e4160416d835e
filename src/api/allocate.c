/* Allocating and freeing, the slow paths: see allocate.h. */
#include "api/allocate.h"

#include <errno.h>
#include <string.h>

#include "api/fast.h"
#include "api/foreign.h"
#include "api/init.h"
#include "api/shortage.h"
#include "api/secure.h"
#include "block/large.h"
#include "block/lookup.h"
#include "block/secure.h"
#include "block/sweep.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/sample.h"
#include "thread/shared.h"

void *allocate_failed(void)
{
	errno = ENOMEM;
	return NULL;
}

#define CALLER __builtin_return_address(0)

void *allocate_guarded(struct asked asked, unsigned class_index, const void *caller)
{
	if (sample_is_on() && !sample_turn(life_heap_if_any(), class_index))
		return NULL;
	return guarded_make(&(struct guarded_request){ .size = asked.size, .alignment = asked.alignment, .kind = asked.kind,
	                                               .zeroed = asked.zeroed, .caller = caller });
}

static struct entry take(unsigned class_index)
{
	struct heap *heap = life_heap();

	return heap != NULL ? heap_take(heap, class_index) : shared_take(class_index);
}

static COLD struct entry take_again(unsigned class_index, size_t size)
{
	struct shortage shortage = shortage_of_small(class_index, size);
	struct entry entry = { NULL, NULL };

	while (entry.block == NULL && shortage_relieve(&shortage))
		entry = take(class_index);
	return entry;
}

/* A block whose state is still CACHED or CACHED_ZERO, from the thread's own heap or the shared one. */
static struct entry refill(unsigned class_index, size_t size)
{
	purge_end_hold();
	struct entry entry = take(class_index);
	if (UNLIKELY(entry.block == NULL))
		entry = take_again(class_index, size);
	sweep_tick();
	return entry;
}

/* The magazine is empty: an entry as refill gives it, or `whole`, a block that needs no more: of a security level, or
 * guarded. */
ALWAYS_INLINE struct entry take_missed(unsigned class_index, struct asked asked, const void *caller, void **whole)
{
	struct entry entry = { NULL, NULL };

	*whole = NULL;
	init_ensure();
	if (UNLIKELY(secure.on)) {
		*whole = secure_allocate(asked, caller);
		return entry;
	}
	if (UNLIKELY(guarded_on)) {
		entry = sample_take(class_index);
		if (entry.block == NULL)
			*whole = allocate_guarded(asked, class_index, caller);
		if (*whole != NULL)
			return entry;
	}
	return LIKELY(entry.block == NULL) ? refill(class_index, asked.size) : entry;
}

ALWAYS_INLINE void *live_entry(struct entry entry, unsigned class_index)
{
	ledger_set(entry.state, LEDGER_LIVE);
	/* Not before: a child of a fork in between would find it free, and note it a second time. */
	memcheck_allocated(entry.block, size_classes[class_index].size, false);
	return entry.block;
}

/* A function of its own, so that who finds a block in the magazine saves no registers. */
static NOINLINE void *allocate_miss(unsigned class_index, size_t size, size_t alignment, enum guard_kind kind, const void *caller)
{
	struct asked asked = { .size = size, .alignment = alignment, .kind = kind };
	void *whole;
	struct entry entry = take_missed(class_index, asked, caller, &whole);

	if (UNLIKELY(whole != NULL))
		return whole;
	return LIKELY(entry.block != NULL) ? live_entry(entry, class_index) : allocate_failed();
}

ALWAYS_INLINE void *allocate_small(unsigned class_index, struct asked asked, const void *caller)
{
	struct magazine *magazine = thread_magazine((uintptr_t)class_index << MAGAZINE_LOG2);

	if (UNLIKELY(magazine->top->block == NULL))
		return allocate_miss(class_index, asked.size, asked.alignment, asked.kind, caller);
	return live_entry(*magazine->top--, class_index);
}

static COLD void *large_again(struct asked asked, size_t alignment)
{
	struct shortage shortage = shortage_of_large(asked.size);
	void *block = NULL;

	while (block == NULL && shortage_relieve(&shortage))
		block = large_make(asked.size, alignment, asked.zeroed);
	return block;
}

ALWAYS_INLINE void *allocate_large(struct asked asked, size_t alignment, const void *caller)
{
	init_ensure();
	if (UNLIKELY(secure.on)) {
		asked.alignment = alignment;
		return secure_allocate(asked, caller);
	}
	if (UNLIKELY(guarded_on)) {
		void *guarded = allocate_guarded(asked, CLASS_COUNT, caller);
		if (guarded != NULL)
			return guarded;
	}
	purge_end_hold();
	sweep_tick();
	void *block = large_make(asked.size, alignment, asked.zeroed);
	if (UNLIKELY(block == NULL) && (block = large_again(asked, alignment)) == NULL)
		return allocate_failed();
	return block;
}

/* A function of its own, so that the rest saves no registers. */
static NOINLINE void *allocate_plain_large(size_t size, enum guard_kind kind, const void *caller)
{
	return allocate_large((struct asked){ .size = size, .kind = kind }, GRANULE_BYTES, caller);
}

ALWAYS_INLINE void *allocate_plain(size_t size, size_t alignment, enum guard_kind kind, const void *caller)
{
	if (UNLIKELY(secure.on) && alignment == 0)
		return secure_allocate_plain(size, kind, caller);
	if (size <= SMALL_BYTES_MAX)
		return allocate_small(size_class_of(size + (size == 0)), (struct asked){ .size = size, .alignment = alignment, .kind = kind }, caller);
	return allocate_plain_large(size, kind, caller);
}

void *allocate_slow(size_t size) { return allocate_plain(size, 0, GUARD_KIND_MALLOC, CALLER); }
void *allocate_slow_new(size_t size) { return allocate_plain(size, 0, GUARD_KIND_NEW, CALLER); }
void *allocate_slow_new_array(size_t size) { return allocate_plain(size, 0, GUARD_KIND_NEW_ARRAY, CALLER); }
void *allocate_slow_granule(size_t size) { return allocate_plain(size, GRANULE_BYTES, GUARD_KIND_MEMALIGN, CALLER); }
void *allocate_slow_new_granule(size_t size) { return allocate_plain(size, GRANULE_BYTES, GUARD_KIND_NEW_ALIGNED, CALLER); }
void *allocate_slow_new_array_granule(size_t size) { return allocate_plain(size, GRANULE_BYTES, GUARD_KIND_NEW_ARRAY_ALIGNED, CALLER); }

static void *zeroed_entry(struct entry entry, unsigned class_index, size_t size)
{
	bool zero = ledger_get(entry.state) == LEDGER_CACHED_ZERO;

	ledger_set(entry.state, LEDGER_LIVE);
	memcheck_allocated(entry.block, size_classes[class_index].size, zero);
	return zero ? entry.block : memset(entry.block, 0, size);
}

static NOINLINE void *allocate_zeroed_miss(unsigned class_index, size_t size, const void *caller)
{
	struct asked asked = { .size = size, .kind = GUARD_KIND_MALLOC, .zeroed = true };
	void *whole;
	struct entry entry = take_missed(class_index, asked, caller, &whole);

	if (UNLIKELY(whole != NULL))
		return whole;
	return LIKELY(entry.block != NULL) ? zeroed_entry(entry, class_index, size) : allocate_failed();
}

void *allocate_zeroed(size_t size)
{
	if (size > SMALL_BYTES_MAX)
		return allocate_large((struct asked){ .size = size, .kind = GUARD_KIND_MALLOC, .zeroed = true }, GRANULE_BYTES, CALLER);

	unsigned class_index = size_class_of(size + (size == 0));
	struct magazine *magazine = thread_magazine((uintptr_t)class_index << MAGAZINE_LOG2);
	if (UNLIKELY(magazine->top->block == NULL))
		return allocate_zeroed_miss(class_index, size, CALLER);
	return zeroed_entry(*magazine->top--, class_index, size);
}

ALWAYS_INLINE void *allocate_aligned_as(size_t alignment, size_t size, enum guard_kind kind, const void *caller)
{
	struct asked asked = { .size = size, .alignment = alignment, .kind = kind };
	unsigned class_index = size_class_aligned(size, alignment);

	if (class_index == CLASS_COUNT)
		return allocate_large(asked, alignment, caller);
	return allocate_small(class_index, asked, caller);
}

void *allocate_aligned(size_t alignment, size_t size)
{
	if (alignment <= GRANULE_BYTES)
		return fast_allocate_by(size, allocate_slow_granule);
	return allocate_aligned_as(alignment, size, GUARD_KIND_MEMALIGN, CALLER);
}

void *allocate_aligned_new(size_t alignment, size_t size)
{
	if (alignment <= GRANULE_BYTES)
		return fast_allocate_by(size, allocate_slow_new_granule);
	return allocate_aligned_as(alignment, size, GUARD_KIND_NEW_ALIGNED, CALLER);
}

void *allocate_aligned_new_array(size_t alignment, size_t size)
{
	if (alignment <= GRANULE_BYTES)
		return fast_allocate_by(size, allocate_slow_new_array_granule);
	return allocate_aligned_as(alignment, size, GUARD_KIND_NEW_ARRAY_ALIGNED, CALLER);
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

/* False: it takes another look. */
ALWAYS_INLINE bool released_other(struct span *span, size_t index)
{
	/* Large blocks, security levels, threads without a heap; and a descriptor that is made anew while a mistaken free
	 * looks at it. */
	if (UNLIKELY(span->kind_secured != SPAN_SLAB) || UNLIKELY(index >= span->end_index) ||
	    UNLIKELY(thread_heap_distance == 0) || UNLIKELY(!ledger_end_life(&span->ledger[index], LEDGER_FREE)))
		return false;
	heap_notify(span);
	return true;
}

static NOINLINE void release_other_secured(void *block, struct span *span, size_t index, size_t size, size_t alignment, const char *call)
{
	if (span->kind == SPAN_SLAB && index < span->end_index && thread_heap_distance != 0 &&
	    ledger_get(&span->ledger[index]) == LEDGER_LIVE)
		secure_release_other(span, block, &span->ledger[index], size, alignment, call);
	else
		release_said(block, size, alignment, call);
}

void release_other(void *block, struct span *span, size_t index, const char *call)
{
	if (released_other(span, index))
		return;
	if (span->secured)
		release_other_secured(block, span, index, GUARDED_UNSAID, 0, call);
	else
		release_slow(block, call);
}

void release_other_said(void *block, struct span *span, size_t index, size_t size, size_t alignment, const char *call)
{
	if (released_other(span, index))
		return;
	if (span->secured)
		release_other_secured(block, span, index, size, alignment, call);
	else
		release_said(block, size, alignment, call);
}

void release_full(struct span *slab, void *block, ledger_byte *state, size_t size, size_t alignment, const char *call)
{
	if (UNLIKELY(secure.on)) {
		secure_release_own(slab, block, state, size, alignment, call);
		return;
	}
	ledger_set(state, LEDGER_CACHED);
	heap_put(heap_at(thread_heap_distance), slab, (struct entry){ block, state });
	sweep_tick();
}

ALWAYS_INLINE void release_any(void *block, size_t size, size_t alignment, const char *call)
{
	struct span *span;
	ledger_byte *state;

	if (block == NULL)
		return;
	if (!live_block(block, &span, &state)) {
		if (guarded_owns(block)) {
			guarded_free(block, &(struct guarded_release){ .call = call, .size = size, .alignment = alignment });
			return;
		}
		if (region_of(block) != NULL) {
			report_bad_pointer(call, block);
			return;
		}
		int saved_errno = errno;
		foreign_free(block, call);
		errno = saved_errno;
		return;
	}
	/* From here on nothing touches errno: src/os/ makes its system calls without it. */
	if (UNLIKELY(secure.on)) {
		secure_release(span, block, state, size, alignment, call);
		return;
	}
	bool large = state == &span->large_state;
	if (!large)
		memcheck_freed(block, span->block_bytes);
	if (!large && release_to_owner(span, (struct entry){ block, state })) {
		sweep_tick();
		return;
	}
	if (!ledger_end_life(state, LEDGER_FREE)) {
		report_bad_pointer(call, block);
		return;
	}
	if (!large) {
		heap_notify(span);
		return;
	}
	large_release(span);
	sweep_tick();
}

void release_slow(void *block, const char *call)
{
	release_any(block, GUARDED_UNSAID, 0, call);
}

void release_said(void *block, size_t size, size_t alignment, const char *call)
{
	release_any(block, size, alignment, call);
}

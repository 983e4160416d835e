/* malloc, free and realloc with a security level: see secure.h. */
#include "api/secure.h"

#include "api/fast.h"
#include "api/init.h"
#include "api/resize.h"
#include "api/shortage.h"
#include "block/large.h"
#include "block/secure.h"
#include "block/sweep.h"
#include "guard/report.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/quarantine.h"
#include "thread/shared.h"

/* ---- Allocating ---- */

static COLD void written_after_free(void *block, size_t bytes, enum guard_kind kind)
{
	size_t offset = secure_first_nonzero(block, bytes);

	if (!secure_doubtful)
		report_damage(facts_call_name(kind), block, REPORT_WRITTEN_AFTER_FREE, bytes, offset);
	memset(block, 0, bytes);
}

/* A fork may come at any point, and its child must not find a block free that isn't zero: a life begins before anything is
 * written, and ends after all is zero. What the child finds in between stays out of use there. */
ALWAYS_INLINE void begin_life(ledger_byte *state)
{
	ledger_set(state, LEDGER_LIVE);
#ifndef __SANITIZE_THREAD__
	/* It knows no fences; nor what a fork sees, which this one is for. */
	atomic_thread_fence(memory_order_release);
#endif
}

ALWAYS_INLINE void end_life(ledger_byte *state)
{
	atomic_store_explicit(state, LEDGER_CACHED, memory_order_release);
}

/* From a free block to one of so many bytes. */
ALWAYS_INLINE void *hand_out(struct entry entry, unsigned class_index, size_t size, enum guard_kind kind)
{
	size_t class_bytes = size_classes[class_index].size;

	if (LIKELY(secure.verify) && LIKELY(ledger_get(entry.state) == LEDGER_CACHED) &&
	    UNLIKELY(!secure_is_zero(entry.block, class_bytes)))
		written_after_free(entry.block, class_bytes, kind);
	begin_life(entry.state);
	secure_set_slack(entry.state, class_index, class_bytes - size);
	if (LIKELY(secure.canary))
		secure_set_canary(entry.block, size);
	return entry.block;
}

static struct entry entry_take(unsigned class_index)
{
	purge_end_hold();
	struct heap *heap = life_heap();
	struct entry entry = heap != NULL ? heap_take_any(heap, class_index) : shared_take(class_index);

	sweep_tick();
	return entry;
}

static COLD struct entry entry_take_again(unsigned class_index, size_t size)
{
	struct shortage shortage = shortage_of_small(class_index, size);
	struct entry entry = { NULL, NULL };

	while (entry.block == NULL && shortage_relieve(&shortage))
		entry = entry_take(class_index);
	return entry;
}

static COLD void *large_again(const struct asked *asked, size_t alignment, size_t *changed)
{
	struct shortage shortage = shortage_of_large(asked->size);
	void *block = NULL;

	while (block == NULL && shortage_relieve(&shortage))
		block = large_make_secure(asked->size, alignment, asked->zeroed, changed);
	return block;
}

static void *allocate_large(const struct asked *asked)
{
	purge_end_hold();
	sweep_tick();
	size_t alignment = max_size(asked->alignment, GRANULE_BYTES);
	size_t changed;

	void *block = large_make_secure(asked->size, alignment, asked->zeroed, &changed);
	if (UNLIKELY(block == NULL) && (block = large_again(asked, alignment, &changed)) == NULL)
		return allocate_failed();
	if (UNLIKELY(changed < large_good_size(asked->size)) && !secure_doubtful)
		report_damage(facts_call_name(asked->kind), block, REPORT_WRITTEN_AFTER_FREE, asked->size, changed);
	return block;
}

static NOINLINE void *allocate_any(const struct asked *asked, const void *caller)
{
	size_t raised = asked->size + secure.canary_bytes;
	unsigned class_index = CLASS_COUNT;

	if (raised >= asked->size && raised <= SMALL_BYTES_MAX)
		class_index = size_class_aligned(max_size(raised, 1), max_size(asked->alignment, GRANULE_BYTES));
	if (UNLIKELY(guarded_on)) {
		void *guarded = allocate_guarded(*asked, class_index, caller);
		if (guarded != NULL)
			return guarded;
	}
	if (class_index == CLASS_COUNT)
		return allocate_large(asked);
	struct entry entry = entry_take(class_index);
	if (UNLIKELY(entry.block == NULL) && (entry = entry_take_again(class_index, asked->size)).block == NULL)
		return allocate_failed();
	bool zero = secure.zero || !asked->zeroed || ledger_get(entry.state) == LEDGER_CACHED_ZERO;
	if (!zero)
		memset(entry.block, 0, asked->size);
	return hand_out(entry, class_index, asked->size, asked->kind);
}

void *secure_allocate(struct asked asked, const void *caller)
{
	if (LIKELY(secure.quick) && asked.alignment <= GRANULE_BYTES && asked.size <= SECURE_QUICK_BYTES - CANARY_BYTES)
		return secure_allocate_plain(asked.size, asked.kind, caller);
	return allocate_any(&asked, caller);
}

static NOINLINE void *allocate_plain(size_t size, enum guard_kind kind, const void *caller)
{
	struct heap *heap = heap_at(thread_heap_distance);

	if (LIKELY(size <= SMALL_BYTES_MAX - CANARY_BYTES) && LIKELY(secure.random) && LIKELY(!guarded_on)) {
		unsigned class_index = size_class_of(max_size(size + secure.canary_bytes, 1));
		if (LIKELY(heap_has_choice(heap, class_index))) {
			struct chacha *random = &heap->secured.random;
			struct entry entry = heap_pick(heap, class_index, secure_choice(class_index), chacha_8(random));
			return hand_out(entry, class_index, size, kind);
		}
	}
	return allocate_any(&(struct asked){ .size = size, .kind = kind }, caller);
}

static COLD void *hand_out_written(struct entry entry, unsigned class_index, size_t size, enum guard_kind kind)
{
	return hand_out(entry, class_index, size, kind);
}

/* ---- Freeing ---- */

static NOINLINE void check_said(void *block, size_t asked, size_t size, size_t alignment, const char *call)
{
	if (size != GUARDED_UNSAID && size != asked && !secure_doubtful)
		report_damage(call, block, REPORT_WRONG_SIZE, asked, size);
	else if (alignment != 0 && ((uintptr_t)block & (alignment - 1)) != 0)
		report_damage(call, block, REPORT_WRONG_ALIGNMENT, asked, alignment);
}

static COLD void overflowed(void *block, size_t asked, size_t bytes, const char *call)
{
	if (!secure_doubtful)
		report_damage(call, block, REPORT_OVERFLOW, asked, secure_slack_changed(block, asked, bytes));
	/* The program goes on: one report is enough. */
	memset((char *)block + asked, 0, bytes - asked);
	secure_set_canary(block, asked);
}

/* What this heap's levels look at besides: seldom anything. */
static NOINLINE void check_more(void *block, size_t asked, size_t bytes, size_t said, size_t alignment, const char *call)
{
	if (secure.rest && secure_slack_changed(block, asked, bytes) < bytes)
		overflowed(block, asked, bytes, call);
	if (secure.said)
		check_said(block, asked, said, alignment, call);
}

/* Of a block of so many bytes in its class. */
ALWAYS_INLINE void check(void *block, size_t asked, size_t bytes, size_t said, size_t alignment, const char *call)
{
	if (UNLIKELY(secure.rest) || UNLIKELY(secure.said))
		check_more(block, asked, bytes, said, alignment, call);
	else if (LIKELY(secure.canary) && UNLIKELY(!secure_canary_stands(block, asked)))
		overflowed(block, asked, bytes, call);
}

/* Only the request and the canary can have been written to by right; what else has been shows when it is handed out. The small
 * ones whole all the same: see doc/performance.md. */
ALWAYS_INLINE void wipe(void *block, size_t asked, size_t bytes)
{
	if (UNLIKELY(!secure.zero))
		return;
	if (LIKELY(bytes <= SECURE_QUICK_BYTES))
		secure_zero_quick(block, bytes);
	else
		memset(block, 0, asked + secure.canary_bytes);
}

/* It is LEAVING. */
static NOINLINE void release_own(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	unsigned class_index = slab->class_index;
	struct heap *heap = heap_at(thread_heap_distance);
	size_t asked = slab->block_bytes - secure_slack(state, class_index);
	struct entry entry = { block, state };

	check(block, asked, slab->block_bytes, said, alignment, call);
	wipe(block, asked, slab->block_bytes);
	end_life(state);
	if (secure.quarantine_bytes > 0) {
		quarantine_put(heap, entry, slab->block_bytes);
		return;
	}
	struct magazine *stock = &heap->stock[class_index];
	if (LIKELY(stock->top != stock->limit)) {
		*++stock->top = entry;
		return;
	}
	heap_put(heap, slab, entry);
	sweep_tick();
}

/* Past a full magazine, straight to its slab: where that is neither its first free block nor its last live one. */
ALWAYS_INLINE bool may_pass(const struct bin *bin, const struct span *slab)
{
	return LIKELY(bin->passes > 0) && LIKELY(slab->listed) && LIKELY(slab->free_count + 1u < slab_block_count(slab));
}

/* Where frees follow the order of addresses, by and large, the program's next looks at its blocks do, too: random places hide that
 * from the processor. */
#define FETCH_BLOCKS 32

/* The look at the state was a load: another thread may free the block by mistake right now, and who loses must neither zero it nor
 * keep it (model/ledger.pml). Where there is no other a load and a store do; a compare-and-swap waits for all stores before it. */
ALWAYS_INLINE bool end_own_life(ledger_byte *state)
{
	if (LIKELY(*secure.single_threaded == 0))
		return ledger_end_life(state, LEDGER_LEAVING);
	if (UNLIKELY(ledger_get(state) != LEDGER_LIVE))
		return false;
	ledger_set(state, LEDGER_LEAVING);
	return true;
}

#define QUICK(name) name
#define QUICK_TARGET
#include "api/secure_quick.h"

#if defined(SECURE_WIDE)
#define QUICK(name) name##_wide
#define QUICK_TARGET SECURE_WIDE
#include "api/secure_quick.h"
#define BY_WIDTH(function, ...) (LIKELY(secure.wide) ? function##_wide(__VA_ARGS__) : function(__VA_ARGS__))
#else
#define BY_WIDTH(function, ...) function(__VA_ARGS__)
#endif

void *secure_allocate_plain(size_t size, enum guard_kind kind, const void *caller)
{
	return BY_WIDTH(allocate_quick, size, kind, caller);
}

void secure_release_own(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	BY_WIDTH(release_quick, slab, block, state, said, alignment, call);
}

/* After a fork the slabs of threads that are gone are looked through: what is CACHED in them becomes FREE (pool.c). */
static bool may_wait(const struct span *slab)
{
	uintptr_t owner = atomic_load_explicit(&slab->owner, memory_order_relaxed);

	return atomic_load_explicit(&heap_at(owner)->state, memory_order_relaxed) != HEAP_DEAD;
}

void secure_release_other(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	struct heap *heap = life_heap_if_any();
	struct entry entry = { block, state };
	bool waits = secure.quarantine_bytes > 0 && may_wait(slab);

	if (!ledger_end_life(state, LEDGER_LEAVING)) {
		report_bad_pointer(call, block);
		return;
	}
	size_t asked = slab->block_bytes - secure_slack(state, slab->class_index);
	check(block, asked, slab->block_bytes, said, alignment, call);
	wipe(block, asked, slab->block_bytes);
	if (heap != NULL && waits) {
		end_life(state);
		quarantine_put(heap, entry, slab->block_bytes);
	} else if (heap == NULL && (waits || (shared_owns(slab) && life_is_new()))) {
		end_life(state);
		shared_give(entry, slab->block_bytes);
	} else {
		ledger_give_up(state);
		heap_notify(slab);
	}
}

static void release_large(struct span *large, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	if (!ledger_end_life(state, LEDGER_FREE)) {
		report_bad_pointer(call, block);
		return;
	}
	check(block, large->asked_bytes, large_secured_bytes(large), said, alignment, call);
	large_release(large);
	sweep_tick();
}

void secure_release(struct span *span, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	const struct heap *heap = life_heap_if_any();

	if (state == &span->large_state)
		release_large(span, block, state, said, alignment, call);
	else if (heap != NULL && atomic_load_explicit(&span->owner, memory_order_relaxed) == heap->distance)
		secure_release_own(span, block, state, said, alignment, call);
	else
		secure_release_other(span, block, state, said, alignment, call);
}

/* ---- Resizing ---- */

/* The block stays, and has room for the new size and its canary. */
static void ask_again(void *block, size_t old_size, size_t size)
{
	size_t from = min_size(old_size, size);

	/* What of the old request is given up, and the old canary. */
	memset((char *)block + from, 0, old_size - from + secure.canary_bytes);
	if (secure.canary)
		secure_set_canary(block, size);
}

static bool resize_small(struct span *slab, ledger_byte *state, void *block, size_t old_size, size_t size)
{
	unsigned class_index = slab->class_index;
	size_t raised = size + secure.canary_bytes;

	if (raised < size || raised > slab->block_bytes)
		return false;
	/* A narrow class can't remember more. */
	if (slab->block_bytes - size > (class_index < SECURE_NARROW_CLASSES ? UINT8_MAX : UINT16_MAX))
		return false;
	if (size < old_size && raised < slab->block_bytes / RESIZE_SHRINK_FRACTION && slab->block_bytes > CACHE_LINE_BYTES)
		return false;
	ask_again(block, old_size, size);
	secure_set_slack(state, class_index, slab->block_bytes - size);
	return true;
}

/* NULL: it must be copied. */
static void *resize_large(struct span *large, ledger_byte *state, void *block, size_t old_size, size_t size)
{
	if (size <= SMALL_BYTES_MAX)
		return NULL;
	if (size > old_size)
		purge_end_hold();
	return large_ask_again(large, size) ? block : resize_by_moving(large, state, size);
}

void *secure_resize(struct span *span, ledger_byte *state, void *block, size_t size, const char *call)
{
	size_t old_size = secure_asked(span, state);
	bool is_large = state == &span->large_state;

	check(block, old_size, is_large ? large_secured_bytes(span) : span->block_bytes, GUARDED_UNSAID, 0, call);
	if (is_large)
		return resize_large(span, state, block, old_size, size);
	return resize_small(span, state, block, old_size, size) ? block : NULL;
}

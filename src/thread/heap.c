/* Heaps: see heap.h. The functions here are mirrored by model/ledger.pml. */
#include "thread/heap.h"

#include <string.h>

#include "base/check.h"
#include "block/secure.h"
#include "block/sweep.h"
#include "thread/export.h"
#include "thread/magazine.h"
#include "thread/pool.h"
#include "thread/quarantine.h"
#include "thread/sample.h"
#include "thread/shared.h"

/* A refill that has found something looks at no more than this many slabs: each may have but one free block. */
#define REFILL_SLABS_MAX 16

/* Magazines up to this bound are filled whole. */
#define REFILL_WHOLE_MAX 7

/* When a magazine is full again and no refill came between, frees pass it by, straight to their slabs, and it is looked
 * at once in so many slow ones, of which each grants its slab SLAB_RETURNS_MAX quick ones. Not at the first time: a
 * branch that is taken now and then costs more than a drop. */
#define LOOKS_MAX 8

/* With a security level frees that pass by come here first; after each one that does, so many of its class need not. */
#define PASSES_MAX 64

_Thread_local uintptr_t thread_heap_distance;

/* Slabs that announced themselves while they had no owner. */
static _Atomic(struct span *) orphans;

size_t heap_bytes(void)
{
	return sample_is_on() || secure.on ? sizeof(struct heap) : offsetof(struct heap, secured);
}

void heap_init(struct heap *heap)
{
	heap->distance = (uintptr_t)heap - (uintptr_t)&heap_empty;
	memcpy(heap->magazines, heap_empty.magazines, sizeof(heap->magazines));
	heap->stock = heap->magazines;
	if (secure.on) {
		heap->stock = heap->counted.stock;
		memcpy(heap->stock, heap->magazines, sizeof(heap->magazines));
		for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
			heap->counted.low[class_index] = heap->stock[class_index].top;
		secure_random_start(&heap->secured.random);
	}
	if (sample_is_on())
		sample_heap_init(heap);
}

/* ---- The list of partial slabs ---- */

/* With random places a slab is listed behind up to so many others. */
#define LIST_DEPTH_MAX 4

static void heap_list(struct heap *heap, struct span *slab)
{
	struct span **link = &heap->bins[slab->class_index].partial;
	struct span *previous = NULL;

	for (size_t depth = secure.random ? chacha_below(&heap->secured.random, LIST_DEPTH_MAX) : 0; depth > 0 && *link != NULL;
	     depth--) {
		previous = *link;
		link = &previous->list.next;
	}
	slab->list.next = *link;
	slab->list.previous = previous;
	if (*link != NULL)
		(*link)->list.previous = slab;
	*link = slab;
	slab->listed = true;
}

void heap_unlist(struct heap *heap, struct span *slab)
{
	if (!slab->listed)
		return;
	if (slab->list.previous != NULL)
		slab->list.previous->list.next = slab->list.next;
	else
		heap->bins[slab->class_index].partial = slab->list.next;
	if (slab->list.next != NULL)
		slab->list.next->list.previous = slab->list.previous;
	slab->listed = false;
}

void heap_hand_over(struct heap *from, struct heap *to, struct span *slab)
{
	heap_unlist(from, slab);
	atomic_store_explicit(&slab->owner, to->distance, memory_order_seq_cst);
	heap_settle(to, slab);
}

void heap_handed_over(struct heap *from, struct heap *to)
{
	/* See notify_push. */
	heap_drain(from);
	heap_drain_if_released(to);
}

bool heap_rob(struct heap *from, struct heap *to, unsigned class_index)
{
	struct span *slab = from->bins[class_index].partial;

	while (slab != NULL && !claim_try(slab))
		slab = slab->list.next;
	if (slab == NULL)
		return false;
	heap_hand_over(from, to, slab);
	heap_handed_over(from, to);
	return true;
}

void heap_settle(struct heap *heap, struct span *slab)
{
	DCHECK(atomic_load_explicit(&slab->owner, memory_order_relaxed) == heap->distance);
	slab_count_returns(slab);
	if (slab->free_count == slab_block_count(slab)) {
		heap_unlist(heap, slab);
		slab_release(slab);
		/* Its header may be on the heap's stack, and soon be another heap's slab, whose owner would not hear of it.
		 * The drain that runs, or the caller's, takes it from there. */
		heap->released_announced |= notification_is_set(slab);
		return;
	}
	if (slab->free_count > 0 && !slab->listed)
		heap_list(heap, slab);
	claim_release(slab);
}

/* ---- What a sweep wants to know ---- */

/* Blocks went from slabs to magazines, or back: told in large pieces. */
static void note(struct heap *heap, size_t taken_bytes, size_t freed_bytes)
{
	heap->taken_bytes += taken_bytes;
	heap->freed_bytes += freed_bytes;
	if (UNLIKELY(heap->taken_bytes + heap->freed_bytes >= SWEEP_NOTE_BYTES)) {
		sweep_note(heap->taken_bytes, heap->freed_bytes);
		heap->taken_bytes = heap->freed_bytes = 0;
	}
}

/* ---- Announcing what others freed ---- */

static void notify_forward(struct span *slab);

/* Any thread: the slabs on the heap's stack go to their owners' stacks, which is that one again for most. */
static COLD void notify_forward_all(struct heap *heap)
{
	struct span *slab = atomic_exchange_explicit(&heap->notified, NULL, memory_order_acquire);

	while (slab != NULL) {
		struct span *next = atomic_load_explicit(&slab->next_notified, memory_order_relaxed);
		notify_forward(slab);
		slab = next;
	}
}

/* Links a slab whose token the caller has set on its owner's stack. */
static void notify_push(struct span *slab)
{
	uintptr_t owner = atomic_load_explicit(&slab->owner, memory_order_seq_cst);
	_Atomic(struct span *) *stack = owner == OWNER_NONE ? &orphans : &heap_at(owner)->notified;
	struct span *head = atomic_load_explicit(stack, memory_order_relaxed);

	do
		atomic_store_explicit(&slab->next_notified, head, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(stack, &head, slab, memory_order_seq_cst, memory_order_relaxed));
	if (owner == OWNER_NONE)
		return;
	/* The owner may have changed between the look and the push, and the new one would not hear of the slab: whoever
	 * changes it looks at the old owner's stack afterwards, so one of the two sees the other. */
	if (UNLIKELY(atomic_load_explicit(&slab->owner, memory_order_seq_cst) != owner))
		notify_forward_all(heap_at(owner));
	else if (atomic_load_explicit(&heap_at(owner)->state, memory_order_relaxed) != HEAP_IN_USE)
		pool_notified(heap_at(owner));
}

/* Passes a slab on with its token set, or a second push would lose the slabs behind it. It is set already, but for the
 * child of a fork, where a token of the epoch before is void. */
static void notify_forward(struct span *slab)
{
	atomic_store_explicit(&slab->notified, epoch_now(), memory_order_relaxed);
	notify_push(slab);
}

void heap_notify(struct span *slab)
{
	if (notification_set(slab))
		notify_push(slab);
}

void heap_drain(struct heap *heap)
{
	heap->released_announced = false;
	/* Sequentially consistent: after a change of owners; see notify_push. */
	if (atomic_load_explicit(&heap->notified, memory_order_seq_cst) == NULL)
		return;
	size_t gained_bytes = 0;
	struct span *slab = atomic_exchange_explicit(&heap->notified, NULL, memory_order_acquire);
	while (slab != NULL) {
		/* Before the token is cleared: from then on another push may overwrite it. */
		struct span *next = atomic_load_explicit(&slab->next_notified, memory_order_relaxed);
		if (atomic_load_explicit(&slab->owner, memory_order_seq_cst) != heap->distance) {
			notify_forward(slab);
		} else {
			notification_clear(slab);
			if (claim_try(slab)) {
				struct bin *bin = &heap->bins[slab->class_index];
				slab_count_returns(slab);
				size_t known = slab->free_count;
				size_t gained = slab_count_free(slab) - known;
				gained_bytes += gained * slab->block_bytes;
				bin->gained = (uint16_t)min_size(bin->gained + gained, UINT16_MAX);
				heap_settle(heap, slab);
			} else {
				heap_notify(slab);
			}
		}
		slab = next;
	}
	export_gathered(heap, gained_bytes);
	note(heap, 0, gained_bytes);
	heap_drain_if_released(heap);
}

void heap_forward_orphans(void)
{
	if (atomic_load_explicit(&orphans, memory_order_relaxed) == NULL)
		return;
	struct span *slab = atomic_exchange_explicit(&orphans, NULL, memory_order_acquire);
	while (slab != NULL) {
		struct span *next = atomic_load_explicit(&slab->next_notified, memory_order_relaxed);
		if (atomic_load_explicit(&slab->owner, memory_order_seq_cst) != OWNER_NONE) {
			notify_forward(slab);
		} else {
			/* A retired header. Should it become a slab right now, a free that met the token is announced here. */
			notification_clear(slab);
			if (atomic_load_explicit(&slab->owner, memory_order_seq_cst) != OWNER_NONE)
				heap_notify(slab);
		}
		slab = next;
	}
}

/* ---- Refill ---- */

/* Under the slab's claim, which ends: turns up to `wanted` of its blocks into entries on top of the magazine. */
static size_t fill_from_slab(struct heap *heap, struct heap *owner, struct span *slab, size_t wanted)
{
	struct magazine *magazine = &heap->stock[slab->class_index];

	slab_count_returns(slab);
	size_t fresh_index = slab->fresh_index;
	size_t found = slab_refill(slab, magazine->top + 1, wanted);
	magazine->top += found;
	/* What was never handed out before was no memory that lay idle. */
	note(heap, (found - min_size(found, slab->fresh_index - fresh_index)) * slab->block_bytes, 0);
	if (slab->free_count == 0)
		heap_unlist(owner, slab);
	else if (!slab->listed)
		heap_list(owner, slab);
	claim_release(slab);
	return found;
}

size_t heap_fill(struct heap *heap, struct heap *owner, unsigned class_index, size_t wanted)
{
	struct span *slab = owner->bins[class_index].partial;
	size_t got = 0;

	for (int visited = 0; slab != NULL && got < wanted && (got == 0 || visited < REFILL_SLABS_MAX); visited++) {
		struct span *next = slab->list.next;
		if (claim_try(slab))
			got += fill_from_slab(heap, owner, slab, wanted - got);
		slab = next;
	}
	return got;
}

size_t heap_fill_new(struct heap *heap, struct heap *owner, unsigned class_index, size_t wanted)
{
	/* All heaps are made alike: the same place in the one at distance 0. With a security level it is malloc's magazine,
	 * which has no room: the fast free calls release_full. */
	const struct magazine *magazines = secure.on ? owner->magazines : owner->stock;
	uintptr_t magazine = (uintptr_t)&magazines[class_index] - owner->distance;
	struct span *slab = slab_make(class_index, owner->distance, (const void *)magazine);

	return slab == NULL ? 0 : fill_from_slab(heap, owner, slab, wanted);
}

/* Fills half of an empty magazine, a small one whole. False if memory is short. */
static COLD bool refill(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];
	bool in_use = atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_IN_USE;

	bin->looks = 0;
	bin->passes = 0;
	if (in_use)
		export_learn(heap, class_index);
	if (!magazine_grow(heap, class_index))
		return false;
	size_t wanted = bin->allowed > REFILL_WHOLE_MAX ? bin->allowed / 2u : bin->allowed;
	/* It is empty but where allocations are counted. */
	wanted = min_size(wanted, bin->allowed - magazine_count(heap, class_index));
	size_t got = heap_fill(heap, heap, class_index, wanted);
	if (got == 0) {
		heap_drain(heap);
		if (bin->exports > 0 && in_use)
			got = shared_exchange(heap, class_index, wanted);
		else
			got = heap_fill(heap, heap, class_index, wanted);
	}
	if (got == 0 && pool_help(heap, class_index))
		got = heap_fill(heap, heap, class_index, wanted);
	if (got == 0)
		got = heap_fill_new(heap, heap, class_index, wanted);
	if (got > 0)
		export_sample(bin, got);
	return got > 0;
}

struct entry heap_take(struct heap *heap, unsigned class_index)
{
	struct magazine *magazine = &heap->stock[class_index];

	bool counted = magazine != &heap->magazines[class_index];
	if (UNLIKELY(counted) && magazine->top->block != NULL && sample_lacks(heap, class_index))
		refill(heap, class_index);
	if (magazine->top->block == NULL && !refill(heap, class_index))
		return (struct entry){ NULL, NULL };
	struct entry entry = *magazine->top--;
	if (UNLIKELY(counted))
		sample_advance(heap, class_index);
	DCHECK(heap_is_valid(heap));
	return entry;
}

static void fetch_newest(const struct heap *heap, unsigned class_index, size_t count)
{
	const struct entry *top = heap->stock[class_index].top;

	for (size_t i = min_size(count, magazine_count(heap, class_index)); i > 0; i--)
		__builtin_prefetch((top--)->block, 1);
}

struct entry heap_take_any(struct heap *heap, unsigned class_index)
{
	struct magazine *stock = &heap->stock[class_index];
	size_t choice = secure.random ? secure_choice(class_index) : 1;

	if (stock->top <= heap->counted.low[class_index] && refill(heap, class_index))
		fetch_newest(heap, class_index, choice + HEAP_AHEAD);
	/* What is there serves where no more is to be had. */
	if (stock->top->block == NULL)
		return (struct entry){ NULL, NULL };
	struct entry entry = heap_pick(heap, class_index, choice, chacha_8(&heap->secured.random));
	DCHECK(heap_is_valid(heap));
	return entry;
}

/* ---- Drop ---- */

/* After blocks went back to a slab of the heap's own: it may be empty, or have its first free block. */
static void slab_gained(struct heap *heap, struct span *slab, bool grants)
{
	if (slab->free_count == slab_block_count(slab)) {
		/* Whoever drops its pages right now holds the claim: the slab comes up again at the next look. */
		if (claim_try(slab))
			heap_settle(heap, slab);
		else
			heap_notify(slab);
		heap_drain_if_released(heap);
		return;
	}
	if (!slab->listed)
		heap_list(heap, slab);
	if (grants)
		slab_grant_returns(slab);
}

static void drop(struct heap *heap, unsigned class_index, size_t keep)
{
	struct magazine *magazine = &heap->stock[class_index];
	struct entry *entries = heap->bins[class_index].entries;
	size_t count = magazine_count(heap, class_index);
	size_t dropping = count > keep ? count - keep : 0;
	struct span *slab = NULL;

	if (dropping == 0)
		return;
	for (size_t i = 1; i <= dropping; i++) {
		struct span *next = span_of(entries[i].block);
		if (UNLIKELY(atomic_load_explicit(&next->owner, memory_order_relaxed) != heap->distance)) {
			ledger_give_up(entries[i].state);
			heap_notify(next);
			continue;
		}
		if (next != slab) {
			if (slab != NULL)
				slab_gained(heap, slab, false);
			slab = next;
		}
		slab_return(slab, entries[i].state);
	}
	if (slab != NULL)
		slab_gained(heap, slab, false);
	note(heap, 0, dropping * size_classes[class_index].size);
	memmove(entries + 1, entries + 1 + dropping, (count - dropping) * sizeof(*entries));
	magazine->top = entries + (count - dropping);
}

void heap_drop(struct heap *heap, unsigned class_index, size_t keep)
{
	drop(heap, class_index, keep);
	if (UNLIKELY(heap->stock != heap->magazines) && keep == 0 && sample_take_back(heap, class_index))
		drop(heap, class_index, 0);
}

/* Makes room in a full magazine: its older half goes. All of it when no refill came since the last time: the thread
 * tears down, and what its magazines hold when it falls asleep is out of everybody's reach. */
static void make_room(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];

	if (!bin->dropped) {
		heap_drop(heap, class_index, bin->allowed / 2u);
		bin->dropped = true;
		return;
	}
	heap_drop(heap, class_index, 0);
	magazine_close(heap, class_index);
	bin->looks = LOOKS_MAX;
}

static void grant_passes(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];

	note(heap, 0, (size_t)(PASSES_MAX - bin->passes) * size_classes[class_index].size);
	bin->passes = PASSES_MAX;
}

void heap_put(struct heap *heap, struct span *slab, struct entry entry)
{
	unsigned class_index = slab->class_index;
	struct magazine *magazine = &heap->stock[class_index];
	struct bin *bin = &heap->bins[class_index];

	if (bin->entries == NULL)
		magazine_grow(heap, class_index);
	if (magazine->top == magazine->limit && bin->looks == 0 && bin->entries != NULL)
		make_room(heap, class_index);
	if (magazine->top != magazine->limit) {
		*++magazine->top = entry;
	} else {
		bin->looks -= bin->looks > 0;
		note(heap, 0, (size_t)(slab->returns_granted - slab->returns_left + 1u) * slab->block_bytes);
		slab_return(slab, entry.state);
		/* A granted return would pass by what a security level does. */
		slab_gained(heap, slab, !secure.on);
		if (secure.on)
			grant_passes(heap, class_index);
	}
	DCHECK(heap_is_valid(heap));
}

void heap_give(struct heap *heap, struct entry entry)
{
	struct span *slab = span_of(entry.block);

	if (LIKELY(atomic_load_explicit(&slab->owner, memory_order_relaxed) == heap->distance)) {
		heap_put(heap, slab, entry);
		return;
	}
	ledger_give_up(entry.state);
	heap_notify(slab);
}

void heap_retire(struct heap *heap)
{
	export_retire(heap);
	heap_drop_all(heap);
}

void heap_drop_all(struct heap *heap)
{
	if (secure.on)
		quarantine_empty(heap);
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
		heap_drop(heap, class_index, 0);
}

/* ---- Invariants ---- */

bool heap_is_valid(struct heap *heap)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		const struct magazine *magazine = &heap->stock[class_index];
		const struct bin *bin = &heap->bins[class_index];

		if (bin->entries == NULL ? magazine->top->block != NULL || magazine->top != magazine->limit
		                         : magazine->top < bin->entries || magazine->top > magazine->limit ||
		                               magazine->limit > bin->entries + bin->capacity ||
		                               bin->entries->block != NULL)
			return false;
		if (heap->stock != heap->magazines && !sample_front_is_valid(heap, class_index))
			return false;
		for (const struct span *slab = bin->partial; slab != NULL; slab = slab->list.next)
			if (!slab->listed || slab->class_index != class_index || slab->kind != SPAN_SLAB ||
			    atomic_load_explicit(&slab->owner, memory_order_relaxed) != heap->distance ||
			    (slab->list.next != NULL && slab->list.next->list.previous != slab))
				return false;
	}
	return true;
}

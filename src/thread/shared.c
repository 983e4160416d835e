/* The shared heap: see shared.h. */
#include "thread/shared.h"

#include "block/secure.h"
#include "thread/pool.h"
#include "thread/quarantine.h"

struct lock shared_lock = LOCK_INIT(LOCK_RANK_SHARED_HEAP);

/* Made at the first use, under shared_lock; never unmade. */
static struct heap *_Atomic shared;

static struct heap *shared_heap(void)
{
	return atomic_load_explicit(&shared, memory_order_acquire);
}

/* Under shared_lock. */
static struct heap *shared_heap_made(void)
{
	if (shared_heap() == NULL)
		atomic_store_explicit(&shared, pool_make_shared(), memory_order_release);
	return shared_heap();
}

/* The user's list of slabs goes over to the shared heap. Slabs that are claimed (their pages are being dropped) stay. */
static void hand_over_all(struct heap *from, struct heap *to, unsigned class_index)
{
	struct span *slab = from->bins[class_index].partial;

	while (slab != NULL) {
		struct span *next = slab->list.next;
		if (claim_try(slab))
			heap_hand_over(from, to, slab);
		slab = next;
	}
	heap_handed_over(from, to);
}

size_t shared_exchange(struct heap *heap, unsigned class_index, size_t wanted)
{
	size_t got = 0;

	lock_take(&shared_lock);
	struct heap *owner = shared_heap_made();
	if (owner != NULL) {
		if (heap->bins[class_index].partial != NULL)
			hand_over_all(heap, owner, class_index);
		got = heap_fill(heap, owner, class_index, wanted);
		if (got == 0) {
			heap_drain(owner);
			got = heap_fill(heap, owner, class_index, wanted);
		}
		if (got == 0)
			got = heap_fill_new(heap, owner, class_index, wanted);
	}
	lock_release(&shared_lock);
	return got;
}

bool shared_rob(struct heap *heap, unsigned class_index)
{
	struct heap *from = shared_heap();

	if (from == NULL || from == heap || !lock_try(&shared_lock))
		return false;
	if (from->bins[class_index].partial == NULL)
		heap_drain(from);
	bool robbed = heap_rob(from, heap, class_index);
	lock_release(&shared_lock);
	return robbed;
}

struct entry shared_take(unsigned class_index)
{
	struct entry entry = { NULL, NULL };

	lock_take(&shared_lock);
	if (shared_heap_made() != NULL)
		entry = secure.on ? heap_take_any(shared_heap(), class_index) : heap_take(shared_heap(), class_index);
	lock_release(&shared_lock);
	return entry;
}

void shared_give(struct entry entry, size_t bytes)
{
	bool given = false;

	lock_take(&shared_lock);
	if (shared_heap_made() != NULL) {
		if (secure.quarantine_bytes > 0)
			quarantine_put(shared_heap(), entry, bytes);
		else
			heap_give(shared_heap(), entry);
		given = true;
	}
	lock_release(&shared_lock);
	if (given)
		return;
	struct span *slab = span_of(entry.block);
	ledger_give_up(entry.state);
	heap_notify(slab);
}

bool shared_owns(const struct span *slab)
{
	const struct heap *heap = shared_heap();

	return heap != NULL && atomic_load_explicit(&slab->owner, memory_order_relaxed) == heap->distance;
}

bool shared_put(struct span *slab, struct entry entry)
{
	lock_take(&shared_lock);
	/* By compare-and-swap: a thread with a heap of its own may free the same block by mistake right now. */
	bool live = shared_owns(slab) && ledger_end_life(entry.state, LEDGER_CACHED);
	if (live)
		heap_put(shared_heap(), slab, entry);
	lock_release(&shared_lock);
	return live;
}

void shared_tidy(void)
{
	if (!lock_try(&shared_lock))
		return;
	if (shared_heap() != NULL)
		heap_drain(shared_heap());
	lock_release(&shared_lock);
}

void shared_drop_all(void)
{
	lock_take(&shared_lock);
	if (shared_heap() != NULL) {
		heap_drop_all(shared_heap());
		heap_drain(shared_heap());
	}
	lock_release(&shared_lock);
}

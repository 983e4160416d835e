/* The shared heap: see shared.h. */
#include "thread/shared.h"

#include "thread/pool.h"

struct lock shared_lock = LOCK_INIT(LOCK_RANK_SHARED_HEAP);

/* Made at the first use, under shared_lock; never unmade. */
static struct heap *_Atomic shared;

static struct heap *shared_heap(void)
{
	return atomic_load_explicit(&shared, memory_order_acquire);
}

struct entry shared_take(unsigned class_index)
{
	struct entry entry = { NULL, NULL };

	lock_take(&shared_lock);
	if (shared_heap() == NULL)
		atomic_store_explicit(&shared, pool_make_shared(), memory_order_release);
	if (shared_heap() != NULL)
		entry = heap_take(shared_heap(), class_index);
	lock_release(&shared_lock);
	return entry;
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
	bool live = ledger_end_life(entry.state, LEDGER_CACHED);
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

/* Heaps that nobody's thread uses: see pool.h.
 *
 * After a fork the heaps of the threads that are gone can't be trusted, they may have been in the middle of anything:
 * only ledgers and page map can. Their slabs are found by a walk over the page map, a piece at a time on slow paths:
 * what is CACHED in them is FREE, they are counted and listed anew, and when the walk has seen all, the dead heaps
 * join the pool. */
#include "thread/pool.h"

#include "base/check.h"
#include "block/secure.h"
#include "space/meta.h"
#include "thread/export.h"
#include "thread/magazine.h"
#include "thread/quarantine.h"
#include "thread/sample.h"
#include "thread/shared.h"

/* A heap that nobody uses is drained by those who push on it, once for so many slabs. */
#define PENDING_MAX 16
/* The shared heap, if threads fill their magazines from it: they drain it when they need to. */
#define PENDING_MAX_EXPORTS 512
/* Units that one step of the walk looks at. */
#define WALK_UNITS 4096
#define WALK_UNITS_MAX ((size_t)1 << 26)
/* Pooled heaps that one call for help looks at. */
#define HELP_HEAPS 4

struct lock pool_lock = LOCK_INIT(LOCK_RANK_HEAP_POOL);

static struct {
	struct heap *pooled;            /* by next_pooled, the last one given first */
	struct heap *pooled_last;
	struct heap *made;              /* by next_made, all there are */
	_Atomic size_t pooled_count;
	_Atomic size_t made_count;
	_Atomic size_t in_use_count;    /* sequentially consistent: see scavenger.c */
	_Atomic bool walking;           /* there are dead heaps */
	size_t walk_region;             /* where the walk goes on */
	size_t walk_unit;
} pool;

static size_t load(const _Atomic size_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void add(_Atomic size_t *count, size_t change)
{
	atomic_store_explicit(count, load(count) + change, memory_order_relaxed);
}

static void set_state(struct heap *heap, enum heap_state state)
{
	atomic_store_explicit(&heap->state, state, memory_order_relaxed);
}

/* ---- Made, taken, given ---- */

static struct heap *heap_make(void)
{
	lock_take(&space_lock);
	struct heap *heap = meta_alloc(heap_bytes());
	lock_release(&space_lock);
	if (heap == NULL)
		return NULL;
	heap_init(heap);
	heap->next_made = pool.made;
	pool.made = heap;
	add(&pool.made_count, 1);
	return heap;
}

static struct heap *heap_unpool(void)
{
	struct heap *heap = pool.pooled;

	if (heap != NULL) {
		pool.pooled = heap->next_pooled;
		if (pool.pooled == NULL)
			pool.pooled_last = NULL;
		add(&pool.pooled_count, (size_t)-1);
	}
	return heap;
}

static void heap_pool(struct heap *heap)
{
	set_state(heap, HEAP_POOLED);
	heap->next_pooled = pool.pooled;
	pool.pooled = heap;
	if (pool.pooled_last == NULL)
		pool.pooled_last = heap;
	add(&pool.pooled_count, 1);
}

/* The first pooled heap becomes the last, so that calls for help see all of them in turn. */
static void pool_rotate(void)
{
	struct heap *first = pool.pooled;

	if (first == pool.pooled_last)
		return;
	pool.pooled = first->next_pooled;
	pool.pooled_last->next_pooled = first;
	pool.pooled_last = first;
	first->next_pooled = NULL;
}

struct heap *pool_take(void)
{
	lock_take(&pool_lock);
	struct heap *heap = heap_unpool();
	if (heap == NULL)
		heap = heap_make();
	if (heap != NULL) {
		set_state(heap, HEAP_IN_USE);
		atomic_fetch_add_explicit(&pool.in_use_count, 1, memory_order_seq_cst);
	}
	lock_release(&pool_lock);
	return heap;
}

struct heap *pool_make_shared(void)
{
	lock_take(&pool_lock);
	struct heap *heap = heap_make();
	if (heap != NULL)
		set_state(heap, HEAP_SHARED);
	lock_release(&pool_lock);
	return heap;
}

void pool_give(struct heap *heap)
{
	heap_retire(heap);
	heap_drain(heap);
	lock_take(&pool_lock);
	heap_pool(heap);
	atomic_fetch_sub_explicit(&pool.in_use_count, 1, memory_order_seq_cst);
	/* A push that still saw it in use is not lost: the next one, or who takes the heap, drains. */
	heap_drain(heap);
	lock_release(&pool_lock);
}

/* ---- Slabs that nobody uses ---- */

/* One slab of the walk over what a fork has left; under pool_lock. `user` is the calling thread's heap, or NULL. Slabs
 * of heaps that live on are counted as well: a thread that is gone may have freed into them without announcing it.
 * False if a dead heap's slab is claimed right now (by a trim): the walk must come to it again. */
static bool walk_slab(struct span *slab, struct heap *user)
{
	struct heap *owner = heap_at(atomic_load_explicit(&slab->owner, memory_order_acquire));
	uint32_t state = atomic_load_explicit(&owner->state, memory_order_relaxed);

	if (state != HEAP_DEAD && state != HEAP_POOLED && owner != user) {
		/* Its user counts it. */
		heap_notify(slab);
		return true;
	}
	if (!claim_try(slab))
		return state != HEAP_DEAD;
	if (state == HEAP_DEAD) {
		/* Each slab is seen once in a walk; the list that it may have been in is void (heap_bury). */
		slab->listed = false;
		slab_forget_cached(slab);
	} else if (ledger_count_free(slab->ledger, slab->first_index, slab_block_count(slab)) == slab->free_count) {
		/* Nothing to write: the header's page may still be the parent's as well. */
		claim_release(slab);
		return true;
	}
	slab_count_free(slab);
	heap_settle(owner, slab);
	return true;
}

static void walk_end(void)
{
	for (struct heap *heap = pool.made; heap != NULL; heap = heap->next_made)
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_DEAD)
			heap_pool(heap);
	atomic_store_explicit(&pool.walking, false, memory_order_relaxed);
}

READS_STALE static void walk_step(size_t units, struct heap *user)
{
	for (; units > 0; units--) {
		if (pool.walk_region >= region_count()) {
			walk_end();
			return;
		}
		const struct region *region = region_at(pool.walk_region);
		uintptr_t address = region->base + pool.walk_unit * UNIT_BYTES;
		if (pool.walk_unit >= atomic_load_explicit(&region->committed_bytes, memory_order_acquire) >> UNIT_LOG2) {
			pool.walk_region++;
			pool.walk_unit = 0;
			continue;
		}
		struct span *span = region_span(region, address);
		if (span->kind == SPAN_SLAB && span->start == address &&
		    atomic_load_explicit(&span->owner, memory_order_relaxed) != OWNER_NONE && !walk_slab(span, user))
			return;
		pool.walk_unit++;
	}
}

bool pool_help(struct heap *heap, unsigned class_index)
{
	bool found = false;

	heap_forward_orphans();
	if (shared_rob(heap, class_index))
		return true;
	if ((load(&pool.pooled_count) == 0 && !atomic_load_explicit(&pool.walking, memory_order_relaxed)) ||
	    !lock_try(&pool_lock))
		return false;
	if (atomic_load_explicit(&pool.walking, memory_order_relaxed))
		walk_step(WALK_UNITS, heap);
	for (size_t looked = 0; looked < min_size(HELP_HEAPS, load(&pool.pooled_count)) && !found; looked++) {
		heap_drain(pool.pooled);
		found = heap_rob(pool.pooled, heap, class_index);
		if (!found)
			pool_rotate();
	}
	lock_release(&pool_lock);
	return found;
}

void pool_notified(struct heap *heap)
{
	uint32_t pending = atomic_fetch_add_explicit(&heap->pending, 1, memory_order_relaxed);

	bool shared = atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_SHARED;
	uint32_t pending_max = shared && export_heaps() > 0 ? PENDING_MAX_EXPORTS : PENDING_MAX;

	if (pending % pending_max != pending_max - 1)
		return;
	if (shared) {
		shared_tidy();
	} else if (lock_try(&pool_lock)) {
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_POOLED)
			heap_drain(heap);
		lock_release(&pool_lock);
	}
}

/* Under pool_lock. */
static void drain_pooled(void)
{
	for (struct heap *heap = pool.pooled; heap != NULL; heap = heap->next_pooled)
		heap_drain(heap);
}

void pool_tidy(void)
{
	heap_forward_orphans();
	lock_take(&pool_lock);
	/* It may stop at a slab that another thread is dropping pages of: the next call goes on. */
	for (size_t units = 0; atomic_load_explicit(&pool.walking, memory_order_relaxed) && units < WALK_UNITS_MAX;
	     units += WALK_UNITS)
		walk_step(WALK_UNITS, NULL);
	drain_pooled();
	lock_release(&pool_lock);
}

void pool_tidy_waiting(void)
{
	heap_forward_orphans();
	if (!lock_try(&pool_lock))
		return;
	drain_pooled();
	lock_release(&pool_lock);
}

/* ---- Fork ---- */

/* The state of the block at this address, if there is one and it is CACHED; NULL otherwise. Any address. */
static ledger_byte *cached_block(const void *block, struct span **span)
{
	if (region_of(block) == NULL)
		return NULL;
	*span = span_of(block);
	if ((*span)->kind != SPAN_SLAB)
		return NULL;
	bool is_start;
	size_t index = block_index((uintptr_t)block - (*span)->base, (*span)->multiplier, &is_start);
	if (!is_start || index < (*span)->first_index || index >= (*span)->end_index)
		return NULL;
	uint8_t state = ledger_get(&(*span)->ledger[index]);
	return state == LEDGER_CACHED || state == LEDGER_CACHED_ZERO ? &(*span)->ledger[index] : NULL;
}

/* Blocks of slabs of heaps that live on, which a dead heap had in its magazines (shared_exchange). When no living heap's
 * magazine holds anything, what is CACHED outside the dead heaps' slabs is nobody's, wherever it is found: the entries
 * need not be trusted for more than addresses. */
static void free_foreign(const struct entry *entries, size_t capacity)
{
	for (size_t i = 1; entries != NULL && i <= capacity; i++) {
		struct span *slab;
		ledger_byte *state = cached_block(entries[i].block, &slab);
		if (state == NULL)
			continue;
		uintptr_t owner = atomic_load_explicit(&slab->owner, memory_order_relaxed);
		if (atomic_load_explicit(&heap_at(owner)->state, memory_order_relaxed) == HEAP_DEAD)
			continue;
		ledger_give_up(state);
		heap_notify(slab);
	}
}

static void free_foreign_entries(const struct heap *dead)
{
	/* Entries from 0 on. */
	if (secure.on && dead->secured.quarantine.entries != NULL)
		free_foreign(dead->secured.quarantine.entries - 1, secure.quarantine_blocks);
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		free_foreign(dead->bins[class_index].entries, dead->bins[class_index].capacity);
		if (dead->stock != dead->magazines)
			free_foreign(dead->counted.fronts[class_index], sample_front_max(class_index));
	}
}

/* Nothing of it can be trusted but its address, its distance and its slabs' ledgers. */
static void heap_bury(struct heap *heap)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
		heap->bins[class_index].partial = NULL;
	atomic_store_explicit(&heap->notified, NULL, memory_order_relaxed);
	heap->exports = heap->sat_on_much = false;
	set_state(heap, HEAP_DEAD);
}

void pool_fork_child(struct heap *own)
{
	bool dead = false;

	atomic_store_explicit(&pool.in_use_count, own != NULL, memory_order_relaxed);
	export_fork_child(own);

	/* Those that were dead before, of a walk that had not ended, are buried again: the walk starts anew. */
	for (struct heap *heap = pool.made; heap != NULL; heap = heap->next_made) {
		uint32_t state = atomic_load_explicit(&heap->state, memory_order_relaxed);
		if (heap == own || (state != HEAP_IN_USE && state != HEAP_DEAD))
			continue;
		heap_bury(heap);
		dead = true;
	}
	pool.walk_region = pool.walk_unit = 0;
	atomic_store_explicit(&pool.walking, dead, memory_order_relaxed);
	for (struct heap *heap = pool.made; heap != NULL; heap = heap->next_made)
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_DEAD)
			heap_drain(heap);
	heap_forward_orphans();
	/* The living's magazines may hold blocks of the dead's slabs, and the dead's those of the living's. Not before all
	 * chains have been taken: what is linked in them has a token of the epoch before, and may be announced again. */
	for (struct heap *heap = pool.made; dead && heap != NULL; heap = heap->next_made)
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) != HEAP_DEAD)
			heap_drop_all(heap);
	for (struct heap *heap = pool.made; dead && heap != NULL; heap = heap->next_made)
		if (atomic_load_explicit(&heap->state, memory_order_relaxed) == HEAP_DEAD) {
			free_foreign_entries(heap);
			if (secure.on)
				quarantine_forget(heap);
			for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
				magazine_forget(heap, class_index);
		}
}

struct pool_counts pool_counts(void)
{
	return (struct pool_counts){ .made = load(&pool.made_count),
		                     .pooled = load(&pool.pooled_count),
		                     .in_use = atomic_load_explicit(&pool.in_use_count, memory_order_seq_cst) };
}

/* Looking at every span and every live block, and at single addresses. Called by src/api/ (quarry_walk,
 * quarry_describe) and by stats.c.
 *
 * The page map is the list of all spans and the ledgers are the lists of all blocks, so a walk keeps no books. It goes
 * up through the regions by address and holds space_lock in short steps only: what is released in between is not
 * met any more, what is made behind its back is not seen. */
#ifndef QUARRY_OBSERVE_WALK_H
#define QUARRY_OBSERVE_WALK_H

#include "quarry/quarry.h"
#include "space/space.h"

/* Calls `visit` for each live block, guarded ones too (start, usable bytes) in address order until it returns non-zero; returns that,
 * or 0. Holds no lock meanwhile: `visit` may allocate, free (also the block it is given) and walk. A block that is
 * live from the first call to the last is visited exactly once (one resized meanwhile with the smaller size, if it
 * stays in place); one that is freed before its turn is not. Ends also if every `visit` allocates: address space that
 * is committed only now is left out. */
int walk_live(int (*visit)(void *block, size_t size, void *context), void *context);

/* What an address is: see quarry_describe. No lock. */
struct quarry_description walk_describe(const void *address);

/* Where a walk over the spans stands. */
struct span_walk {
	const struct region *region;    /* NULL: at the end */
	uintptr_t at;                   /* next address to look at; may be set back into the span just met */
	uintptr_t end;                  /* of the region's committed part when the walk entered it */
	size_t region_count;            /* when the walk started; later regions are left out */
	uintptr_t below;                /* regions from here on are left out */
};

/* No lock. */
struct span_walk span_walk_start(void);
/* The same over regions between two addresses only. */
struct span_walk span_walk_between(uintptr_t from, uintptr_t below);
/* The same over one region. */
struct span_walk span_walk_region(const struct region *region);

/* The next slab or large block's span that reaches above `at`, which moves behind it; the walk may stand inside it.
 * NULL at the end (walk->region is NULL then), and when *budget, of which each look at the page map takes 1, is used
 * up: let go of the lock, and come again. Under space_lock, which keeps the span what it is: none is released, and a
 * slab's bounds don't change. */
struct span *span_walk_next(struct span_walk *walk, size_t *budget);

/* Takes the cost of looking at `count` ledger bytes from the budget. */
static inline void span_walk_spend(size_t *budget, size_t count)
{
	*budget -= *budget < count ? *budget : count;
}

/* What one hold of space_lock may look at: units of the page map and ledger bytes, some 20 us. */
#define SPAN_WALK_BUDGET ((size_t)32768)

#endif

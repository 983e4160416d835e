/* Where resident memory is: the allocator's pages that are there, split by what they hold. Asked the kernel page by page,
 * or told from what we know ourselves. Called by stats.c. */
#ifndef QUARRY_OBSERVE_RESIDENCY_H
#define QUARRY_OBSERVE_RESIDENCY_H

#include "base/compiler.h"

/* Bytes in pages that are there. Each counts once, so the parts add up. A granule is the piece in which a sweep gives
 * back (block/slab.h). */
struct residency {
	size_t live;                    /* in live blocks; what was asked for is not known, so with what they were rounded up by */
	size_t waste;                   /* beside live or cached blocks and in no block: colours and tails of slabs and large spans */
	size_t free_beside_used;        /* in free blocks of slabs whose granule holds a live or cached block, too */
	size_t free_granules;           /* in granules that hold none: a sweep could give them back */
	size_t cached;                  /* in blocks in magazines */
	size_t free_spans;
	size_t metadata;                /* arenas, bits, page maps */
	bool measured;                  /* by the kernel's word, all of it */
};

/* measure: asks the kernel (mincore); if that is refused, or not wanted, what it would have said is estimated: a slab's
 * granules that are not away, large blocks and dirty spans whole, metadata as far as handed out. Measured, the sum is
 * the kernel's; the parts are exact when nobody allocates or frees meanwhile. space_lock is taken in short steps, and
 * not held over a call to the system. Allocates nothing. */
struct residency residency_collect(bool measure);

#endif

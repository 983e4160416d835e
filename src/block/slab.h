/* Slabs: spans cut into blocks of one size class, their ledgers, and what the claim protects. Called by src/thread/
 * (make, refill, count, release) and by whoever frees a block of another thread.
 *
 *   span:    | colour | block | block | ...                               | block | tail |
 *   index:   0 .. first_index .. first_index + 1 ..                 end_index - 1   end_index
 *   header:  struct span (128 bytes), then the ledger, in the metadata */
#ifndef QUARRY_BLOCK_SLAB_H
#define QUARRY_BLOCK_SLAB_H

#include "block/ledger.h"
#include "block/sizeclass.h"
#include "space/space.h"

/* What a magazine holds: a free block and its byte in the ledger. */
struct entry {
	void *block;
	ledger_byte *state;
};

/* Returns that a slab is granted at a time. */
#define SLAB_RETURNS_MAX 64

/* Makes a slab whose frees go to the heap at distance `owner`; `magazine` is the class's in the heap at distance 0. All
 * blocks are FREE, and the caller holds the claim. NULL if memory is short. Takes space_lock. */
struct span *slab_make(unsigned class_index, uintptr_t owner, const void *magazine);

/* Gives an empty slab's span back and retires its header. The caller holds the claim, which ends with it; nothing else
 * may refer to the slab but stacks of notifications. Takes space_lock. */
void slab_release(struct span *slab);

static inline size_t slab_block_count(const struct span *slab)
{
	return (size_t)(slab->end_index - slab->first_index);
}

/* Under the claim: turns up to `wanted` FREE blocks, lowest addresses first, to CACHED and writes them to `entries`
 * in descending address order, so that a stack hands out the lowest first. Returns how many; all of the `wanted`
 * places may be written to on the way. */
size_t slab_refill(struct span *slab, struct entry *entries, size_t wanted);

/* Under the claim: counts the FREE blocks anew into free_count and cursor; returns it. */
size_t slab_count_free(struct span *slab);

/* Granules. A slab's memory is given back in pieces of a page, or of a 64th of the slab if that is more. `away` has a
 * bit for each that is not there, because it was given back or never touched; the word behind the ledger, one for each
 * that held nothing but FREE blocks at the last sweep already. Both under the claim. */
size_t slab_granule_bytes(const struct span *slab);

/* Bytes of granules that are not there; a snapshot, without the claim. */
size_t slab_away_bytes(const struct span *slab);

enum slab_sweep {
	SLAB_SWEEP_LOOK,                /* only notes which granules are free */
	SLAB_SWEEP_AGED,                /* drops those that were free at the last sweep, too */
	SLAB_SWEEP_ALL,                 /* drops all that are free now */
};

struct slab_swept {
	size_t dropped_bytes;           /* given back */
	size_t resident_bytes;          /* of these, what was there: only counted if asked for */
	size_t left_bytes;              /* free and, as far as we know, there */
	size_t away_bytes;              /* free and not there */
	bool refused;                   /* the kernel would not (locked memory) */
	uint64_t began_ns;              /* when the first of it was given back; 0: nothing was */
};

/* Under the claim: looks for granules that hold nothing but FREE blocks and gives their memory back, according to
 * `how`; count: asks the kernel how much of it was there. Any thread, any owner. */
struct slab_swept slab_sweep(struct span *slab, enum slab_sweep how, bool count);

/* Bytes of granules that were given back by sweeps and have been handed out again, since the start. */
uint64_t slab_refaulted_bytes(void);

/* Under the claim, in the child of a fork, for slabs whose owner's thread is gone: what was CACHED is FREE, and nothing is
 * known to be zero. The kernel copies page by page while that thread goes on: what it says of a block may be older than
 * what it wrote there. */
void slab_forget_cached(struct span *slab);

/* Returns. While a magazine is full and its blocks come from many slabs, an owner's free of a LIVE block is best done
 * in the slab at once: a store to the ledger and a count. The owner grants a slab some of them, never so many that the
 * last could empty it; slab_count_returns makes up the accounts that they left undone. */
ALWAYS_INLINE bool slab_return_granted(struct span *slab, ledger_byte *state)
{
	if (UNLIKELY(slab->returns_left == 0))
		return false;
	slab->returns_left--;
	ledger_set_free(state);
	return true;
}

static inline void slab_count_returns(struct span *slab)
{
	if (slab->returns_left != slab->returns_granted) {
		slab->free_count = (uint16_t)(slab->free_count + slab->returns_granted - slab->returns_left);
		slab->cursor = slab->first_index;
	}
	slab->returns_granted = slab->returns_left = 0;
}

/* The accounts are made up. */
static inline void slab_grant_returns(struct span *slab)
{
	slab->returns_granted = slab->returns_left =
	        (uint8_t)min_size(slab_block_count(slab) - 1u - slab->free_count, SLAB_RETURNS_MAX);
}

/* Puts a block that the caller's magazine held back as FREE, and counts it. By the slab's owner. */
static inline void slab_return(struct span *slab, ledger_byte *state)
{
	uint16_t index = (uint16_t)(state - slab->ledger);

	slab_count_returns(slab);
	ledger_set_free(state);
	slab->free_count++;
	if (index < slab->cursor)
		slab->cursor = index;
}

/* Debug builds: the invariants of header and ledger. Under the claim. */
bool slab_is_valid(const struct span *slab);

#endif

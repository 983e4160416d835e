/* Large blocks: a span each, coloured, made from free spans; resized in place, by moving pages, or by copying. Called
 * by src/api/ and src/thread/; every function takes space_lock itself. */
#ifndef QUARRY_BLOCK_LARGE_H
#define QUARRY_BLOCK_LARGE_H

#include "block/ledger.h"
#include "block/secure.h"
#include "space/space.h"

/* A block of at least `bytes` (<= PTRDIFF_MAX) aligned to `alignment` (a power of two, >= 16); zeroed: reads as zero,
 * and only pages that may hold something else are touched. NULL if memory is short. */
void *large_make(size_t bytes, size_t alignment, bool zeroed);

/* The same with a security level. `changed` gets the offset of the first byte that somebody has written to since it was
 * freed; the block's usable size if none is known. */
void *large_make_secure(size_t bytes, size_t alignment, bool zeroed, size_t *changed);
/* The block's pages and its canary: what the caller may look at. */
static inline size_t large_secured_bytes(const struct span *large)
{
	return large->large_bytes + secure.canary_bytes;
}
/* What freed blocks take that stay inaccessible, for when memory is short. False if there were none. */
bool large_reveal_all(void);

/* Gives a large block's span back. The caller has ended its life (LIVE to FREE in large_state). */
void large_release(struct span *large);

/* Changes the size of a LIVE block without moving it; false if there is no room. A tail of whole units that is no
 * longer needed goes back. */
bool large_resize_in_place(struct span *large, size_t bytes);

/* The same with a security level. */
bool large_ask_again(struct span *large, size_t bytes);

/* Moves a LIVE block to a span of at least `bytes` by moving its pages, contents kept; the old block's life must have
 * been ended by the caller (to CACHED), and its span goes back. NULL if it can't be done this way: nothing changed. */
void *large_move(struct span *large, size_t bytes);

/* Usable bytes of a large block that was asked for with `bytes`. */
size_t large_good_size(size_t bytes);

/* Bytes moved by large_move since the start. */
uint64_t large_moved_bytes(void);

#endif

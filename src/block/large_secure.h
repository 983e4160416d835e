/* What a large block has with a security level: what was asked for, a canary behind it, zeros, guard pages where its span has
 * room. Called by large.c for blocks that nobody else knows or that are the caller's; no lock is held.
 *
 *   span:  | colour | guard | block: the request, canary, rest of its last page | guard | rest of the last unit |
 */
#ifndef QUARRY_BLOCK_LARGE_SECURE_H
#define QUARRY_BLOCK_LARGE_SECURE_H

#include "block/secure.h"
#include "space/space.h"

/* Up to here freed memory is zeroed by writing: what of it is there must be zero when it is handed out. */
#define LARGE_WIPE_BYTES_MAX (128 * KIB)

/* So much was asked for, and the canary stands behind it. */
void large_set_asked(struct span *large, size_t asked);

/* The same, and guards as far as the span and the kernel have room for them. */
void large_fortify(struct span *large, size_t asked);

/* Canary and guards go, or the guards alone: before the span changes. */
void large_unfortify(struct span *large);
void large_guards_remove(struct span *large);

/* Part of a block, or of what it has left behind, is zero from now on, if the level says so. */
void large_wipe(uintptr_t from, size_t bytes);

/* What a block that is freed has used is. True if none of it is there any more. */
bool large_wipe_whole(const struct span *large);

/* Memory that must be zero is from now on. Where it was not, as an offset into the block; else the block's usable size. */
size_t large_mend(const struct span *large);

#endif

/* What a large block has with a security level: what was asked for, a canary behind it, zeros, guard pages where its span has
 * room. Called by large.c for blocks that nobody else knows or that are the caller's; no lock is held.
 *
 *   span:  | colour | guard | block: the request, canary, rest of its last page | guard | rest of the last unit |
 */
#ifndef QUARRY_BLOCK_LARGE_SECURE_H
#define QUARRY_BLOCK_LARGE_SECURE_H

#include "block/secure.h"
#include "space/space.h"

/* Up to here memory that was in use before is looked at when it is handed out, where it was zeroed by writing. */
#define LARGE_VERIFY_BYTES_MAX (128 * KIB)

/* So much was asked for, and the canary stands behind it. */
void large_set_asked(struct span *large, size_t asked);

/* The same, and guards as far as the span and the kernel have room for them. */
void large_fortify(struct span *large, size_t asked);

/* Canary and guards go, or the guards alone: before the span changes. */
void large_unfortify(struct span *large);
void large_guards_remove(struct span *large);

/* Part of a block, or of what it has left behind, is zero from now on, if the level says so. */
void large_wipe(uintptr_t from, size_t bytes);

/* What of a block's memory is still there when it is released: nothing, its first page and its last, or all of it. */
enum remains { REMAINS_NOTHING, REMAINS_ENDS, REMAINS_ALL };

/* What a block that is freed has used is zero from now on. */
enum remains large_wipe_whole(const struct span *large);

/* Whether the program's blocks of late were mostly touched. Above 0: so many more may be zeroed by writing. 0: not known; up to
 * LARGE_VERIFY_BYTES_MAX they are. Below: so many that were touched have to be seen before it is believed. Tests set it. */
#define LARGE_TOUCHED 1024
#define LARGE_UNTOUCHED (-3)
HIDDEN extern _Atomic int32_t large_touched;

/* Whether what a block of so many bytes gets must be zero where it was in use before: blocks were zeroed by writing of late. */
bool large_is_verified(size_t asked);

/* Memory that must be zero is from now on. Where it was not, as an offset into the block; else the block's usable size. */
size_t large_mend(const struct span *large);

#endif

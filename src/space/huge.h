/* Huge pages: what the kernel is told about our memory, once for each reservation, and again only where fresh memory is
 * mapped into it. Used by whoever reserves or maps (meta.c, region.c, block/large.c); purging asks whether it is to
 * keep them whole.
 *
 * Where the system makes huge pages unasked, a purge of single pages doesn't free them: a huge page of which something
 * is in use stays in memory whole until memory is short, and khugepaged fills the holes again. So unless they are asked
 * for, there are none. */
#ifndef QUARRY_SPACE_HUGE_H
#define QUARRY_SPACE_HUGE_H

#include "base/bits.h"
#include "base/compiler.h"

enum huge { HUGE_NONE, HUGE_AS_SYSTEM, HUGE_WANTED };

/* Before the first reservation. */
void huge_configure(enum huge wish);

/* Right after address space was reserved; the same of the part of it where blocks will lie. */
void huge_note_reserved(void *address, size_t bytes);
void huge_note_region(void *address, size_t bytes);

/* As os_remap_fresh and os_uncommit, within a region: its VMA merges with its neighbours because the same was said of
 * it. */
int huge_remap_fresh(void *address, size_t bytes);
int huge_uncommit(void *address, size_t bytes);

/* Huge pages are wanted: a purge takes only whole ones, as far as it has a choice. */
#define HUGE_BYTES (2 * MIB)
bool huge_is_wanted(void);

#endif

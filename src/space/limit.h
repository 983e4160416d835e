/* The limit of the process (option `limit`): what Quarry holds never exceeds so many bytes. Asked by who takes units
 * (span.c) and by who commits metadata (meta.c, region.c); what is done when it refuses is purge.h's and api/shortage.c's.
 *
 * Held are units in use, whole, whatever part of them was touched; free units whose memory has not gone back; and the
 * readable and writable part of metadata and page maps. So resident memory is never more. Committed units that are free
 * and clean are address space: they don't count. */
#ifndef QUARRY_SPACE_LIMIT_H
#define QUARRY_SPACE_LIMIT_H

#include "base/compiler.h"

/* Before the second thread exists; 0: none. What is held already stays. */
void limit_configure(uint64_t bytes);

/* Under space_lock: whether so many bytes more may be held. */
bool limit_allows(size_t bytes);
/* Metadata was committed. The negative: units that are in use don't count for a while, because their pages move from here to
 * there and are in use twice, or they are clean. */
void limit_note(size_t bytes);

/* No lock needed. By how much the limit would be exceeded with so many bytes more; 0 without a limit. */
size_t limit_excess(size_t bytes);
/* Whether that much can be held at all, all else being given back. */
bool limit_is_possible(size_t bytes);
/* The option's value; 0: none. */
uint64_t limit_bytes(void);

#endif

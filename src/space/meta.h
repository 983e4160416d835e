/* Memory for Quarry's own structures, apart from every block: bump allocation in arenas with a guard page at each
 * end, packed (page-aligned headers would all fall on the same lines of the cache). What is freed is kept by size for
 * the same use. Everything needs space_lock but meta_owns. */
#ifndef QUARRY_SPACE_META_H
#define QUARRY_SPACE_META_H

#include "base/compiler.h"

/* Hands the allocator an inaccessible piece of address space to use up; bytes is a multiple of the page size. The
 * caller sees to the guard pages around it. False if there are too many already. */
bool meta_add_arena(void *start, size_t bytes);

/* Zeroed on first use, aligned to a line. NULL if memory is short. */
void *meta_alloc(size_t bytes);
/* The same for what will be used later, in parts: these count as handed out when meta_note_used is called. */
void *meta_alloc_ahead(size_t bytes);
void meta_note_used(size_t bytes);
/* For pieces that need not be zero and come back: rounded up to a power of two. */
void *meta_alloc_recycled(size_t bytes);
void meta_free_recycled(void *memory, size_t bytes);

/* Address in one of the arenas. */
bool meta_owns(const void *address);

/* The arenas, by index from 0: the part of each that has been committed. False if there are no more. */
bool meta_arena(size_t index, void **start, size_t *committed_bytes);

/* Bytes handed out, and not freed. */
size_t meta_used_bytes(void);

#endif

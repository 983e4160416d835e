/* The quarantine of small blocks, with security level 2: what was freed waits in the heap of the thread that freed it, and
 * which of those that wait leaves is random. The states are CACHED, the blocks zero. All by the heap's user. */
#ifndef QUARRY_THREAD_QUARANTINE_H
#define QUARRY_THREAD_QUARANTINE_H

#include "thread/heap.h"

/* Takes a block of so many bytes, of any owner's slab; what must leave for it goes to its slab's magazine (heap_give). */
void quarantine_put(struct heap *heap, struct entry entry, size_t bytes);

/* All leave. */
void quarantine_empty(struct heap *heap);

/* Forgets entries and memory; for the child of a fork, where another thread may have been changing them. */
void quarantine_forget(struct heap *heap);

#endif

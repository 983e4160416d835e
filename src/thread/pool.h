/* Heaps that nobody's thread uses: made, pooled when their thread ends, taken over whole by the next thread, robbed of
 * slabs by threads that need one, and, in the child of a fork, taken from threads that no longer exist. */
#ifndef QUARRY_THREAD_POOL_H
#define QUARRY_THREAD_POOL_H

#include "thread/heap.h"

HIDDEN extern struct lock pool_lock;

/* A heap for the calling thread, warm if there is one. NULL if memory is short. */
struct heap *pool_take(void);
/* A heap that stands under a lock of the caller's. */
struct heap *pool_make_shared(void);
/* The calling thread is done with its heap. */
void pool_give(struct heap *heap);

/* `heap` needs a slab of the class: looks for one that nobody uses. True if its list of partial slabs has gained. */
bool pool_help(struct heap *heap, unsigned class_index);

/* A slab was pushed on the stack of a heap that nobody's thread uses. */
void pool_notified(struct heap *heap);

/* Counts and releases what pooled heaps have; finishes the walk over dead ones. For trimming. */
void pool_tidy(void);

/* Pooled heaps alone, and without waiting: for the scavenger. */
void pool_tidy_waiting(void);

/* In the child of a fork, its only thread's heap being `own` (NULL: none): every other heap in use is dead. */
void pool_fork_child(struct heap *own);

struct pool_counts {
	size_t made;
	size_t pooled;
	size_t in_use;                  /* by threads that live */
};
struct pool_counts pool_counts(void);

#endif

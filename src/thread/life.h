/* A thread's life with the allocator: which heap it uses, when it gets one of its own, what happens at its end. */
#ifndef QUARRY_THREAD_LIFE_H
#define QUARRY_THREAD_LIFE_H

#include "thread/heap.h"

/* Once, before the second thread exists. */
void life_init(void);

/* Before the second thread: from now on no thread gets a heap of its own, so that each malloc takes the slow path. */
void life_without_heaps(void);

/* The calling thread's own heap; NULL: it uses the shared heap. Called on slow paths that allocate: decides when a
 * thread has shown that it allocates and gets a heap. */
struct heap *life_heap(void);

/* The same without deciding anything, for slow paths that free. */
struct heap *life_heap_if_any(void);

/* The calling thread is the first, and no other has ever called, as far as it knows. */
bool life_is_alone(void);

/* In the child of a fork: its only thread is its first. */
void life_fork_child(void);

/* Counts a call of a thread without a heap. True if it is one of the first: the shared heap serves it. A thread that
 * goes on freeing what others allocate has no use for a heap, and must not queue at the shared one's lock. */
bool life_is_new(void);

#endif

/* The shared heap: one heap under a lock, for threads that have allocated little, that are exiting, or that can't have
 * one of their own. Ten classes in slabs of one's own are 40 KiB of touched pages; a thousand sleeping threads must
 * not cost that each. Besides it holds the slabs of threads whose blocks are freed by others, for all of these. */
#ifndef QUARRY_THREAD_SHARED_H
#define QUARRY_THREAD_SHARED_H

#include "thread/heap.h"

HIDDEN extern struct lock shared_lock;

/* As heap_take. {NULL} if memory is short. */
struct entry shared_take(unsigned class_index);

/* Whether the slab is the shared heap's, so that shared_put may take its blocks. */
bool shared_owns(const struct span *slab);

/* Ends the life of a LIVE block of a slab of the shared heap; false if it was not LIVE. */
bool shared_put(struct span *slab, struct entry entry);

/* With a security level: a block of so many bytes whose state is CACHED, of any owner's slab, goes to the shared heap's
 * quarantine, or back to its slab. */
void shared_give(struct entry entry, size_t bytes);

/* For a class whose blocks others free (export.h): hands the slabs of `heap` over to the shared heap, and fills up
 * to `wanted` places of the magazine from what that has. Returns how many. By the user of `heap`. */
size_t shared_exchange(struct heap *heap, unsigned class_index, size_t wanted);

/* Hands a slab of the class that has free blocks over to `heap`, if the shared heap has one and its lock is free. False
 * otherwise. By the user of `heap`. */
bool shared_rob(struct heap *heap, unsigned class_index);

/* Drains the shared heap if its lock is free. */
void shared_tidy(void);

/* Empties the shared heap's magazines. */
void shared_drop_all(void);

#endif

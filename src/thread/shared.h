/* The shared heap: one heap under a lock, for threads that have allocated little, that are exiting, or that can't have
 * one of their own. Ten classes in slabs of one's own are 40 KiB of touched pages; a thousand sleeping threads must
 * not cost that each. */
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

/* Drains the shared heap if its lock is free. */
void shared_tidy(void);

/* Empties the shared heap's magazines. */
void shared_drop_all(void);

#endif

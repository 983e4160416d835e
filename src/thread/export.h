/* Export: which classes' blocks are freed by other threads, so that the shared heap had better hold their slabs.
 *
 * A thread that allocates what others free gets its blocks back slab by slab, when it asks for more; asleep, it sits on
 * slabs that have long become empty, while the next such thread makes new ones. Eight producers that take turns held
 * 1.5 times what was live. So the slabs of a class whose blocks all go that way are handed over to the shared heap,
 * which all of them fill their magazines from (shared_exchange).
 *
 * It is recognised without a count on the fast paths: a free by the thread itself overwrites an entry that a refill has
 * written. As long as the entries of refill after refill are as they were, and others free, the class is exported, if
 * much had gathered at some time; for some hundred refills, then it has to show it again. All by the heap's user. */
#ifndef QUARRY_THREAD_EXPORT_H
#define QUARRY_THREAD_EXPORT_H

#include "thread/heap.h"

/* Before a refill: what the last one tells. bin->exports is above 0 if the class is to be exported. */
void export_learn(struct heap *heap, unsigned class_index);

/* After a refill of so many entries, above 0. */
void export_sample(struct bin *bin, size_t filled);

/* A drain has found so much that others had freed. */
void export_gathered(struct heap *heap, size_t bytes);

/* Its thread ends: forgets what was learnt. */
void export_retire(struct heap *heap);

/* Heaps in use that have a class to export; no lock needed. In the child of a fork none is left but its own. */
uint32_t export_heaps(void);
void export_fork_child(const struct heap *own);

#endif

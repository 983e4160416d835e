/* The memory and the bounds of magazines: how many blocks a class may keep. Used by heap.c.
 *
 * A bound starts small and doubles with each refill that no drop came before, up to the class's magazine_max. It
 * halves with each drop that no refill came before, if the blocks came from many slabs: a thread that tears down what
 * is scattered, and falls asleep, keeps a few blocks a class, which pin few slabs. Blocks that lie together pin one
 * slab or two, however many they are. */
#ifndef QUARRY_THREAD_MAGAZINE_H
#define QUARRY_THREAD_MAGAZINE_H

#include "thread/heap.h"

/* Before a refill: the new bound, and room for it. False if there is no memory for any entry. */
bool magazine_grow(struct heap *heap, unsigned class_index);
/* After a drop: true if the bound has shrunk, and the caller must drop to below it. */
bool magazine_dropped(struct heap *heap, unsigned class_index, bool scattered);

static inline size_t magazine_count(const struct heap *heap, unsigned class_index)
{
	const struct bin *bin = &heap->bins[class_index];

	return bin->entries == NULL ? 0 : (size_t)(heap->magazines[class_index].top - bin->entries);
}

/* Forgets entries and memory alike; for the child of a fork, where another thread may have been changing them. */
void magazine_forget(struct heap *heap, unsigned class_index);

#endif

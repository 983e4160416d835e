/* The memory and the bounds of magazines: how many blocks a class may keep. Used by heap.c.
 *
 * A bound starts small, doubles with each refill that no drop came before, up to the class's magazine_max, and halves
 * with each drop that no refill came before: a magazine follows the distance that a thread's demand swings, and a
 * thread that frees everything and falls asleep keeps a few blocks a class, which pin few slabs. */
#ifndef QUARRY_THREAD_MAGAZINE_H
#define QUARRY_THREAD_MAGAZINE_H

#include "thread/heap.h"

/* Before a refill: the new bound, and room for it. False if there is no memory for any entry. */
bool magazine_grow(struct heap *heap, unsigned class_index);
/* Before a drop: the new bound, which the caller's drop must go below. */
void magazine_shrink(struct heap *heap, unsigned class_index);

static inline size_t magazine_count(const struct heap *heap, unsigned class_index)
{
	const struct bin *bin = &heap->bins[class_index];

	return bin->entries == NULL ? 0 : (size_t)(heap->magazines[class_index].top - bin->entries);
}

/* Forgets entries and memory alike; for the child of a fork, where another thread may have been changing them. */
void magazine_forget(struct heap *heap, unsigned class_index);

#endif

/* The memory and the bounds of magazines: how many blocks a class may keep. Used by heap.c.
 *
 * A bound starts small and doubles with each refill that no drop came before, up to the class's magazine_max. After
 * two drops that no refill came between the magazine is closed, empty, until the next refill: a thread that tears down
 * and falls asleep keeps nothing of the class. */
#ifndef QUARRY_THREAD_MAGAZINE_H
#define QUARRY_THREAD_MAGAZINE_H

#include "thread/heap.h"

/* Before a refill: the new bound, and room for it. False if there is no memory for any entry. */
bool magazine_grow(struct heap *heap, unsigned class_index);
/* An empty magazine takes no more blocks until magazine_grow. */
void magazine_close(struct heap *heap, unsigned class_index);

/* Of the stock, where that is another one than malloc's (sample.h). */
static inline size_t magazine_count(const struct heap *heap, unsigned class_index)
{
	const struct bin *bin = &heap->bins[class_index];

	return bin->entries == NULL ? 0 : (size_t)(heap->stock[class_index].top - bin->entries);
}

/* Forgets entries and memory alike; for the child of a fork, where another thread may have been changing them. */
void magazine_forget(struct heap *heap, unsigned class_index);

#endif

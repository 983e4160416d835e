/* Counting allocations, so that one in N is a sample: guarded (src/api/allocate.c). The fast paths are the same
 * instructions with and without it.
 *
 * malloc finds its magazine by the size, free by the slab, and only here the two differ:
 *
 *   slabs  --refill-->  stock  --a batch-->  magazine ("front")  --malloc-->  program
 *     ^------drop------   ^-------------------------free--------------------------'
 *
 * Refills, drops and frees know the stock alone. A front that is empty is malloc's slow path; there a batch is moved to
 * it from the stock, of no more entries than there are allocations left before the next sample: so all are counted,
 * those of a loop that never leaves its magazine, too. When none is left, the class whose batch was the last to be
 * counted has its sample next, and another interval begins for all: so each class's share of the samples is its share of
 * the allocations, however small its batches are.
 *
 * Intervals are random, from 1 to 2N - 1, N on average. A heap's first, and that of a fork's child, which would make its
 * parent's samples else, is what is left of one at any old moment. Threads without a heap count together.
 *
 * All by the heap's user, but for what says otherwise. */
#ifndef QUARRY_THREAD_SAMPLE_H
#define QUARRY_THREAD_SAMPLE_H

#include "thread/heap.h"

/* Immutable after sample_configure; 0: nothing is counted. */
HIDDEN extern uint64_t sample_interval;

static inline bool sample_is_on(void)
{
	return sample_interval != 0;
}

/* Once, before there is a heap. */
void sample_configure(uint64_t interval);

/* An allocation that the front didn't serve: whether it is a sample. `heap` is the calling thread's, or NULL;
 * class_index CLASS_COUNT: a large block. Counts what sample_advance doesn't. */
bool sample_turn(struct heap *heap, unsigned class_index);

/* An entry of the thread's stock, while no sample is due and it is worth a batch; {NULL} otherwise: sample_turn and
 * heap_take have to decide. */
struct entry sample_take(unsigned class_index);

/* ---- For heap.c, pool.c and fork.c ---- */

void sample_heap_init(struct heap *heap);
/* After an entry was taken from the stock: counts it, and moves what may follow it to the front. */
void sample_advance(struct heap *heap, unsigned class_index);
/* Whether a refill is worth its while though the stock isn't empty: batches would be larger. */
bool sample_lacks(const struct heap *heap, unsigned class_index);
/* The front's entries go back on top of the stock, where there is room for them; they don't count. False if there were
 * none. */
bool sample_take_back(struct heap *heap, unsigned class_index);
/* Entries that a front has room for. */
size_t sample_front_max(unsigned class_index);
bool sample_front_is_valid(const struct heap *heap, unsigned class_index);
/* `own`: the only thread's heap, or NULL. */
void sample_fork_child(struct heap *own);

#endif

/* Allocating and freeing when the fast path does not serve: refills, large blocks, other threads' blocks, mistakes.
 * Called by fast.h and by the other files of src/api/. errno is set to ENOMEM on failure and untouched otherwise. */
#ifndef QUARRY_API_ALLOCATE_H
#define QUARRY_API_ALLOCATE_H

#include "guard/guarded.h"
#include "space/space.h"

/* What was asked for, for guard mode, which comes first wherever there is no block at hand. */
struct asked {
	size_t size;
	size_t alignment;               /* 0: not said */
	enum guard_kind kind;
	bool zeroed;
};

/* With guard mode or sampling: a guarded block; NULL: not this one. class_index CLASS_COUNT: a large block. */
COLD void *allocate_guarded(struct asked asked, unsigned class_index, const void *caller);

COLD void *allocate_slow(size_t size);
/* The same for operator new and new[], which guard mode tells apart. */
COLD void *allocate_slow_new(size_t size);
COLD void *allocate_slow_new_array(size_t size);
/* And for aligned forms that ask for no more than malloc gives, which guard mode need not give. */
COLD void *allocate_slow_granule(size_t size);
COLD void *allocate_slow_new_granule(size_t size);
COLD void *allocate_slow_new_array_granule(size_t size);
/* `call` is the name of the function that the program has called, for a report. */
COLD void release_slow(void *block, const char *call);
/* The program says what the block was asked for with; alignment 0: it does not. For guard mode; others don't trust it. */
COLD void release_said(void *block, size_t size, size_t alignment, const char *call);

/* The rest of a free of a span that the calling thread's heap does not own: `block` is the start of the index. */
void release_other(void *block, struct span *span, size_t index, const char *call);
/* The same for the forms that say size and alignment. */
void release_other_said(void *block, struct span *span, size_t index, size_t size, size_t alignment, const char *call);

/* The rest of a free by the slab's owner whose magazine is full; the block has been checked and is LIVE. */
void release_full(struct span *slab, void *block, ledger_byte *state, size_t size, size_t alignment, const char *call);

/* `zeroed`: the block reads as zero. */
void *allocate_zeroed(size_t size);

/* A power of two as alignment. */
void *allocate_aligned(size_t alignment, size_t size);
/* For the aligned operator new and new[]. */
void *allocate_aligned_new(size_t alignment, size_t size);
void *allocate_aligned_new_array(size_t alignment, size_t size);

/* NULL with ENOMEM; for callers that return it. */
void *allocate_failed(void);

#endif

/* realloc, and how large a block is. Called by the files that export names. */
#ifndef QUARRY_API_RESIZE_H
#define QUARRY_API_RESIZE_H

#include "space/space.h"

/* A block that keeps at least half of its bytes stays where it is. */
#define RESIZE_SHRINK_FRACTION 2

/* glibc's semantics: NULL allocates, size 0 frees and returns NULL, failure leaves the block alone. */
/* `call` is the name of the function that the program has called, for a report. */
void *resize(void *block, size_t size, const char *call);
size_t usable_size(const void *block, const char *call);
/* Moves a live large block by its page tables to where it has so much room. NULL: it must be copied, and is as it was. */
void *resize_by_moving(struct span *large, ledger_byte *state, size_t size);
/* usable_size of a block that `size` bytes would get; 0 above PTRDIFF_MAX. */
size_t good_size(size_t size);

#endif

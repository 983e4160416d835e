/* realloc, and how large a block is. Called by the files that export names. */
#ifndef QUARRY_API_RESIZE_H
#define QUARRY_API_RESIZE_H

#include "base/compiler.h"

/* glibc's semantics: NULL allocates, size 0 frees and returns NULL, failure leaves the block alone. */
/* `call` is the name of the function that the program has called, for a report. */
void *resize(void *block, size_t size, const char *call);
size_t usable_size(const void *block, const char *call);
/* usable_size of a block that `size` bytes would get; 0 above PTRDIFF_MAX. */
size_t good_size(size_t size);

#endif

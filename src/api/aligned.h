/* The aligned forms, with glibc 2.36's rules about what an alignment may be. Called by the files that export names. */
#ifndef QUARRY_API_ALIGNED_H
#define QUARRY_API_ALIGNED_H

#include "base/compiler.h"

/* memalign and aligned_alloc: an alignment that is no power of two is rounded up to one; one that can't be is EINVAL. */
void *aligned_memalign(size_t alignment, size_t size);
/* posix_memalign: the error is returned, errno and *block are untouched on failure. */
int aligned_posix(void **block, size_t alignment, size_t size);
void *aligned_valloc(size_t size);
void *aligned_pvalloc(size_t size);
/* calloc, which only differs in what is checked first. */
void *aligned_calloc(size_t count, size_t size);

#endif

/* Giving everything back that can be reached: for quarry_trim and malloc_trim. */
#ifndef QUARRY_API_TRIM_H
#define QUARRY_API_TRIM_H

#include "base/compiler.h"

/* Returns free memory except keep_bytes of it; how many bytes of resident memory went back. No lock held. */
size_t trim_all(size_t keep_bytes);

#endif

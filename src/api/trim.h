/* Giving everything back that can be reached: for quarry_trim, quarry_purge and malloc_trim. */
#ifndef QUARRY_API_TRIM_H
#define QUARRY_API_TRIM_H

#include "base/compiler.h"

/* Returns the parts of free memory that the flags name (enum quarry_purge), of free spans all but keep_bytes; how many
 * bytes went back: with `count` what of them was resident, by the kernel's word, for which a sandbox may kill. No lock held. */
size_t trim(unsigned flags, size_t keep_bytes, bool count);

#endif

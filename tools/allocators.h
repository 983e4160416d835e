/* Which objects bring a malloc of their own: by name, by what they define. */
#ifndef QUARRY_TOOLS_ALLOCATORS_H
#define QUARRY_TOOLS_ALLOCATORS_H

#include <stdbool.h>

#include "tools/elf_file.h"

/* "jemalloc, defines malloc, free" ... (to be freed), or NULL if the object brings no allocator. `name` is its path or
 * soname; `elf` may be closed, then only the name tells. The C and C++ libraries, the loader and Quarry don't count. */
char *allocator_in(const struct elf_file *elf, const char *name);

/* Whether the object is Quarry, or has it linked in as its malloc (not only the quarry_ names). */
bool allocator_is_quarry(const struct elf_file *elf, const char *name);

#endif

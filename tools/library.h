/* Finds the libquarry.so to preload: an explicit one, else next to this command, in a build tree, where configured. */
#ifndef QUARRY_TOOLS_LIBRARY_H
#define QUARRY_TOOLS_LIBRARY_H

#include "tools/elf_file.h"

/* The library's absolute path (to be freed). `explicit_path` is --lib's value or NULL. Among several found, the first
 * for the same machine as `program` wins (`program` may be closed). NULL with *fault (to be freed), which names every
 * place that was tried, if there is none. */
char *library_find(const char *explicit_path, const struct elf_file *program, char **fault);

#endif

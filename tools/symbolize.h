/* Puts functions, files and lines into reports, which name only program or library, offset and build id. */
#ifndef QUARRY_TOOLS_SYMBOLIZE_H
#define QUARRY_TOOLS_SYMBOLIZE_H

#include <stdio.h>

/* Copies `input` to `output` until it ends, or until the line `end` (NULL: none) comes; reports in it, text or JSON, get their names. Each is written as soon as it is
 * whole. Returns 0, or an errno. */
int symbolize(FILE *input, FILE *output, const char *end);

#endif

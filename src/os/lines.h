/* The lines of a file that the kernel writes. For src/os/ alone. */
#ifndef QUARRY_OS_LINES_H
#define QUARRY_OS_LINES_H

#include "base/compiler.h"

/* Calls visit for each line from the file's position to its end, without the newline; of lines above 1024 characters the rest
 * may be cut off. 0, -ENOMEM if visit returned false, or what read failed with. */
int lines_read(long file, bool (*visit)(const char *line, void *context), void *context);

#endif

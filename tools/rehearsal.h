/* Asks a program's own dynamic loader what it would load, without running the program. */
#ifndef QUARRY_TOOLS_REHEARSAL_H
#define QUARRY_TOOLS_REHEARSAL_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/program.h"

struct rehearsal {
	bool held;                   /* the loader told */
	bool preloaded;              /* the library is among what it would load */
	char *complaint;             /* what the loader said about the library; NULL if nothing */
	char **objects;              /* paths, in the loader's order */
	size_t object_count;
};

/* As LD_PRELOAD, `preload` is what the program would get; `library` is the one of its files that is asked for. */
struct rehearsal rehearse(const struct program *program, const char *preload, const char *library);
void rehearsal_free(struct rehearsal *rehearsal);

#endif

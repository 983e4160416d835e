/* From an address in a program's file to functions and lines, by its debug information: elfutils' libdw, where there is
 * one. Inlined calls show as frames of their own; separate debug files are found by build id and by debug link. */
#ifndef QUARRY_TOOLS_SOURCE_H
#define QUARRY_TOOLS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_frame {
	char *function;              /* NULL if unknown */
	char *file;                  /* NULL if unknown */
	int line;                    /* 0 if unknown */
	bool inlined;                /* into the next one */
};

struct source_frames {
	struct source_frame *frames; /* innermost first */
	size_t count;
	bool other_file;             /* the file is not the one that ran: its build id is another */
};

/* Whether this command was built with libdw. */
bool source_is_available(void);

/* What stands at `offset` (as the file numbers its addresses) of the file at `path`, whose build id was `build_id` in hex
 * ("" if unknown). To be freed. */
struct source_frames source_find(const char *path, const char *build_id, uint64_t offset);
void source_frames_free(struct source_frames *frames);

#endif

/* From a command's name to the ELF file that the kernel will start for it: PATH, scripts, `#!/usr/bin/env`. */
#ifndef QUARRY_TOOLS_PROGRAM_H
#define QUARRY_TOOLS_PROGRAM_H

#include <stdbool.h>

#include "tools/elf_file.h"

struct program {
	char *path;          /* what is executed; has a '/' */
	char *binary;        /* the ELF file that runs in the end: `path`, or the interpreter of the script it is */
	struct elf_file elf; /* of `binary`; closed (bytes NULL) if it can't be read */
	char *obstacle;      /* NULL, or why a preload can't reach the binary, found on the way to it */
};

/* Finds and opens it. On failure says why in `fault` (to be freed) and returns the errno that execvp would end with:
 * ENOENT if it or its interpreter doesn't exist, another if it can't be executed. */
int program_find(struct program *program, const char *name, char **fault);
void program_free(struct program *program);

/* Why the kernel would mark the started binary as one that gained privileges (AT_SECURE), in which the loader takes no
 * LD_PRELOAD; NULL if it wouldn't. */
const char *program_privilege(const struct program *program);

#endif

/* Whether a preloaded library would take hold in a program, and if not, why: told before the program runs. */
#ifndef QUARRY_TOOLS_PRELOAD_H
#define QUARRY_TOOLS_PRELOAD_H

#include "tools/diagnosis.h"
#include "tools/program.h"

/* `library` in front of the LD_PRELOAD that is set already (to be freed). */
char *preload_list(const char *library);

/* Whether `library` would be active in the program when it is preloaded as `preload_list` says. VERDICT_ABSENT with
 * the reason if it wouldn't. With `objects` each object that brings an allocator of its own becomes a remark, and the
 * verdict VERDICT_PARTIAL. */
void preload_diagnose(struct diagnosis *diagnosis, const struct program *program, const char *library, bool objects);

/* Why the preload can't reach the program, as far as its files tell, without asking the loader; NULL if it can.
 * To be freed. `library` may be closed. */
char *preload_obstacle(const struct program *program, const struct elf_file *library);

#endif

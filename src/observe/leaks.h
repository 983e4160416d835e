/* Leak finding: guarded blocks that the program can't reach any more, grouped by the stacks that made them, as a report.
 * Called by src/api/: at the process's end (guard_leaks) and by quarry_leak_check. */
#ifndef QUARRY_OBSERVE_LEAKS_H
#define QUARRY_OBSERVE_LEAKS_H

#include "base/compiler.h"

struct leaks_found {
	uint64_t lost_blocks;           /* nothing points to them, or only others that are lost */
	uint64_t lost_bytes;
	uint64_t possibly_blocks;       /* only pointers to their insides were found; or a thread could not be looked at */
	uint64_t possibly_bytes;
};

/* Looks, and reports if anything is lost, or with `possibly` if anything may be. `call` is who asks. 0, or a negative errno
 * if nothing is known: -EBUSY while another thread looks. No lock may be held. Stops other threads for as long as it takes. */
int leaks_check(const char *call, bool possibly, struct leaks_found *found);

/* In the child of a fork: what was there before is its parent's, whose threads may have been all that knew of it. */
void leaks_fork_child(void);

#endif

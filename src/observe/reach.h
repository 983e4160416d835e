/* Which live blocks a program can still reach: a conservative search from everything that it has written to, outside of
 * Quarry's memory, and from the registers of its threads, through live blocks, guarded and other. Called by leaks.c.
 *
 * A word counts as a pointer if its value lies in a live block. Roots are found in /proc/self/maps: data of all objects,
 * stacks, thread-local storage, and what programs have mapped themselves, read-only parts too. Of those only pages that the
 * process has written to are read, by the kernel, because what is mapped may be inaccessible all the same. Of the first
 * thread's stack what lies below its stack pointer is left out; other stacks' bounds aren't known.
 *
 * From start to end all other threads stand still (os_world_stop), wherever they are: no lock is taken, and nothing used
 * but one reservation of our own. */
#ifndef QUARRY_OBSERVE_REACH_H
#define QUARRY_OBSERVE_REACH_H

#include "base/compiler.h"
#include "guard/guarded.h"

enum reach {
	REACH_NONE,
	REACH_POSSIBLY,                 /* by pointers to the insides of blocks only, somewhere on the way */
	REACH_CERTAINLY,
	REACH_INDIRECTLY,               /* not at all, but from another block that can't be reached */
};

/* Looks at everything. 0, or a negative errno: what was found means nothing then. `own_stack`: the caller's registers lie
 * from there on. */
int reach_search(uintptr_t own_stack);
/* How many threads could not be stopped. */
size_t reach_deaf_threads(void);
/* What came out of it, for guarded blocks that were live then. */
enum reach reach_of(size_t number);
/* Lets the other threads go on; then gives the memory back. */
void reach_resume(void);
void reach_end(void);

/* Before: makes room, with `extra_bytes` for whom calls; NULL if there is none. Nobody else may be at it. */
void *reach_begin(size_t extra_bytes);

#endif

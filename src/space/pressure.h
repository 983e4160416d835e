/* How short memory is, told by files of the kernel's: the memory that the process's control group uses and may use, and
 * the time that tasks have stalled for want of memory (PSI). The scavenger opens them and looks (thread/scavenger.c);
 * giving back (purge.c, block/sweep.c) asks for the level alone. None of the files has to exist.
 *
 *   some   90 % of memory.high or memory.max in use, or some task stalled for a tenth of the time since the last look
 *   much   97 % of memory.max, or all tasks stalled for a tenth of it
 *
 * In use is the usage without inactive_file, the part of the page cache that the kernel takes back first: a group that
 * reads files is always full of it. Of groups that have a limit the two nearest count, the process's own or above it;
 * stalls are the group's own, else the machine's. */
#ifndef QUARRY_SPACE_PRESSURE_H
#define QUARRY_SPACE_PRESSURE_H

#include <stdatomic.h>

#include "base/compiler.h"
#include "base/lock.h"

enum pressure { PRESSURE_NONE, PRESSURE_SOME, PRESSURE_MUCH };

/* Written by who looks; all others only load it, relaxed: a level that is seen late does no harm. */
HIDDEN extern _Atomic uint32_t pressure_now;
static inline enum pressure pressure_level(void)
{
	return (enum pressure)atomic_load_explicit(&pressure_now, memory_order_relaxed);
}

/* Where to find out which files there are. */
struct pressure_places {
	const char *groups;             /* /proc/self/cgroup */
	const char *mounts;             /* /proc/self/mountinfo */
	const char *stalls;             /* /proc/pressure/memory */
};
HIDDEN extern const struct pressure_places pressure_places;

/* By one thread at a time: open, look as often as one likes, close. */
void pressure_open(const struct pressure_places *places, uint64_t now_ns);
/* A file that doesn't say what it should, or is gone, is not looked at again: it may be the program's by now. */
void pressure_look(uint64_t now_ns);
/* Nobody looks for a while: there is no pressure as far as we know. */
void pressure_rest(void);
void pressure_close(void);

/* Held while the files are opened and closed: a child of fork inherits all of them or none. */
HIDDEN extern struct lock pressure_lock;
/* In the child: nothing is known yet; the files stay open until pressure_open or pressure_close. */
void pressure_fork_child(void);

/* Looks that found memory short, since the start. */
uint64_t pressure_looks(void);

#endif

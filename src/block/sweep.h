/* Sweeps: giving back the memory of free blocks in slabs that are in use, page by page, under each slab's claim, whoever
 * owns it. A sweep visits every slab, a few with each slow path of the program's (and by the scavenger,
 * thread/scavenger.h), and drops what was free at the sweep before already. It starts when much has been taken and
 * freed since the last one, when a program tears down, and twice in a decay_ms; what it drops depends on whether free
 * memory, in slabs and in spans, is more than may be retained (space/purge.h).
 *
 * How much is free in slabs is known from the last sweep; what has been taken and freed since is counted in large
 * pieces. All functions are thread-safe; none needs a lock. */
#ifndef QUARRY_BLOCK_SWEEP_H
#define QUARRY_BLOCK_SWEEP_H

#include "block/slab.h"

void sweep_configure(uint64_t decay_ms);

/* Blocks of so many bytes were taken from slabs, or came back to them. In pieces of SWEEP_NOTE_BYTES, by and large. */
#define SWEEP_NOTE_BYTES (256 * KIB)
void sweep_note(size_t taken_bytes, size_t freed_bytes);

/* A slow path passes by: what is due of purge_tick and of a sweep, in a small step. Cheap when nothing is. */
void sweep_tick(void);

/* For the scavenger. What is due by now, in spans and slabs, without regard for pauses of its own. True if there may be
 * more to give back later. */
bool sweep_background(void);

/* Something may have to go back: asked before the scavenger falls asleep. */
bool sweep_is_needed(void);

/* The scavenger sleeps until a slow path passes by: the word is SLEEPER_ASLEEP then. SLEEPER_CALLED: it is to look around
 * before it waits again. */
enum { SLEEPER_NONE, SLEEPER_AWAKE, SLEEPER_CALLED, SLEEPER_ASLEEP, SLEEPER_STOPPING };
HIDDEN extern _Atomic uint32_t sweep_sleeper;

/* A whole sweep, all at once: returns what was given back; count: as far as it was there, by the kernel's word. Waits
 * for another thread's step of a sweep to end; slabs that are claimed are passed by. */
size_t sweep_all(enum slab_sweep how, bool count);

struct sweep_figures {
	uint64_t given_back_bytes;      /* by sweeps, since the start */
	uint64_t refaulted_bytes;       /* of these handed out again */
	uint64_t sweeps;                /* completed */
	size_t left_bytes;              /* free pages in slabs that are there, as of the last sweep */
};
struct sweep_figures sweep_figures(void);

#endif

/* Giving free spans' memory back to the system: what is above `retain` at once, the rest when it has lain unused for
 * decay_ms. No lock is held while the kernel works; one step is at most 4 MiB, or more where little of it is there. Called on
 * slow paths by src/block/ and src/thread/, without any lock. */
#ifndef QUARRY_SPACE_PURGE_H
#define QUARRY_SPACE_PURGE_H

#include <stdatomic.h>

#include "base/compiler.h"

struct purge_figures {
	uint64_t purged_bytes;          /* since the start */
	uint64_t purge_count;           /* calls to the kernel */
	uint64_t longest_ns;            /* the longest of them, but for those of calloc */
	uint64_t steps;                 /* pieces of work of such calls, between which the thread does something else */
	uint64_t longest_step_ns;
};

/* Before the second thread exists. */
void purge_configure(uint64_t retain_bytes, uint64_t retain_percent, uint64_t retain_most, uint64_t decay_ms);
void purge_set_retain(uint64_t retain_bytes);
/* Whole pieces of what was given back are uncommitted too (region.h): when the decay's time is over, or at once. */
void purge_set_uncommit(bool at_once);

/* How many bytes of free memory may stay resident: the larger of `retain` and retain_percent of what is live, and a
 * credit besides, for memory that was needed again soon after it had been given back. The credit halves in some three
 * decay_ms. At most retain_max; 0 if nothing is to be kept. While memory is short (pressure.h) some MiB of `retain`, or
 * nothing. */
size_t purge_retained_max(void);

/* So many bytes that had been given back were needed again. */
void purge_credit(size_t bytes);

/* What is free in slabs in use, for telling what is live. */
void purge_set_free_in_slabs(size_t bytes);

/* How many of the units that a purge dropped were there, by the time that it took: of a large block of which one page was
 * touched one page will be faulted in again. mincore would tell exactly, but a sandbox that was set up after the start
 * may forbid it. Learns: where little of what is free is there, the credit may be up to four times as large. */
size_t purge_weigh(size_t units, uint64_t took_ns);

/* Before a range is released: if it alone were more than may be retained, its memory goes first. True if it went. What
 * takes longer than a step is left to the thread that calls purge_background, if there is one. */
bool purge_before_release(void *address, size_t bytes);

/* A slow path passes by: does what is due, at most one step. Cheap when nothing is. */
void purge_tick(void);

/* Gives back all but keep_bytes of the free spans' memory, and uncommits what is free in whole pieces; returns the bytes
 * of resident memory that went back. */
size_t purge_all(size_t keep_bytes);
/* The same without asking the kernel what of it is resident, for which a sandbox may kill: all counts. */
size_t purge_all_uncounted(size_t keep_bytes);

/* So many bytes can't be had: gives back of the free spans' memory what the limit of the process makes necessary, or all if
 * it is the kernel that refuses, and waits for the steps of others, whose spans are nobody's meanwhile. False if there was
 * nothing, so that to try again is of no use. */
bool purge_for(size_t bytes);

/* The child of a fork gives nothing back by itself until it allocates on its own account: what it frees is mostly its
 * parent's as well, so that dropping it frees nothing and costs page tables of its own. Freed spans wait as dirty. What
 * is asked for (purge_all, sweep_all, purge_range) is done all the same. */
HIDDEN extern _Atomic bool purge_held;
static inline bool purge_is_held(void)
{
	return atomic_load_explicit(&purge_held, memory_order_relaxed);
}
/* Before a slow path allocates. */
static inline void purge_end_hold(void)
{
	if (UNLIKELY(purge_is_held()))
		atomic_store_explicit(&purge_held, false, memory_order_relaxed);
}

/* All that is due, for a thread that has nothing else to do: what is above purge_retained_max, and what has aged. */
void purge_background(void);
void purge_set_background(bool there_is);
/* Whether anything may become due if nobody calls. */
bool purge_is_needed(void);

/* Under space_lock: whether a step is at work, its spans being nobody's meanwhile: a fork would lose them. */
bool purge_is_in_flight(void);
/* Under space_lock: no step begins any more, or again. */
void purge_pause(bool pause);
void purge_fork_child(void);

/* Purges part of a span in use or in the caller's hands, in pieces, and counts it. */
int purge_range(void *address, size_t bytes);

/* Counts a step that gave something back and began at this os_now_ns(). */
void purge_note_step(uint64_t began_ns);

struct purge_figures purge_figures(void);

#endif

/* Regions: reserving address space, committing it in large steps, the page map's memory. Used by span.c and
 * purge.c alone, but for what space.h declares. */
#ifndef QUARRY_SPACE_REGION_H
#define QUARRY_SPACE_REGION_H

#include "space/space.h"

/* Commits more of a region, reserving another one if need be, so that there are at least `units` consecutive new
 * units; stores where they start and how many they are. False if memory or address space is short. */
bool region_grow(size_t units, struct region **region, uintptr_t *start, size_t *new_units);

/* Uncommitting: free memory that goes back with its charge (strict overcommit, RLIMIT_DATA) is mapped anew, inaccessible.
 * Each run of such units is a mapping of its own, so they are bounded, and only whole pieces, aligned in the region, are
 * worth one; a piece's page table goes with it. */
#define UNCOMMIT_UNITS ((2 * MIB) >> UNIT_LOG2)

/* The units of all regions that are uncommitted. */
size_t region_uncommitted_units(void);
/* Asks how large the machine is, once: before the second thread, or under space_lock. Returns RLIMIT_AS. */
uint64_t region_know_machine(void);
/* What is committed is limited, so more runs are worth it. Before the second thread exists. */
void region_expect_limits(bool limited);
/* Whether these committed units may become uncommitted: there are not too many runs, or they join one. */
bool region_may_uncommit(const struct region *region, size_t first, size_t count);
/* The units, nobody's and clean, have been made inaccessible: so they are from now on. */
void region_note_uncommitted(struct region *region, size_t first, size_t count);
/* Commits what is uncommitted of the units, and as far as memory allows of the free ones around them. False if the
 * kernel refuses. */
bool region_commit_again(struct region *region, size_t first, size_t count);
/* In a fork's child what is committed again never merges with its neighbours. */
void region_fork_child(void);

/* Bits of units; both ranges lie in the committed part. */
void region_bits_set(uint64_t *bits, size_t first, size_t count);
void region_bits_clear(uint64_t *bits, size_t first, size_t count);
size_t region_bits_count(const uint64_t *bits, size_t first, size_t count);
/* The first run of bits that equal `value` in [first, end): returns where it starts, end if there is none, and stores
 * its length. */
size_t region_bits_run(const uint64_t *bits, size_t first, size_t end, bool value, size_t *length);

static inline size_t region_unit(const struct region *region, uintptr_t address)
{
	return (address - region->base) >> UNIT_LOG2;
}

#endif

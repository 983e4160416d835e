/* Regions: reserving address space, committing it in large steps, the page map's memory. Used by span.c alone, but for
 * what space.h declares. */
#ifndef QUARRY_SPACE_REGION_H
#define QUARRY_SPACE_REGION_H

#include "space/space.h"

/* Commits more of a region, reserving another one if need be, so that there are at least `units` consecutive new
 * units; stores where they start and how many they are. False if memory or address space is short. */
bool region_grow(size_t units, struct region **region, uintptr_t *start, size_t *new_units);

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

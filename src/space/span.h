/* Free spans: best fit with coalescing, spans with dirty memory before clean ones (a page fault costs more than
 * anything else an allocator does), lowest address among equals. Everything needs space_lock. Used by src/block/ and
 * purge.c. */
#ifndef QUARRY_SPACE_SPAN_H
#define QUARRY_SPACE_SPAN_H

#include "space/space.h"

/* Units that belong to the caller: the page map shows span_nobody for them until he sets it. */
struct span_range {
	uintptr_t start;
	size_t units;
	size_t dirty_units;             /* of them may hold something else than zeros; 0: all is zero */
};

/* Takes `units` consecutive units whose start is a multiple of `alignment` (a power of two, >= UNIT_BYTES). False if
 * memory or address space is short. What its release needs is there from then on. */
bool span_take(size_t units, size_t alignment, struct span_range *range);

/* Takes the `units` units from `start` on if they are free and lie in one region; false otherwise. For growing in
 * place: they are released together with those in front of them. */
bool span_take_at(uintptr_t start, size_t units, struct span_range *range);

/* Gives units back. dirty: they may hold something else than zeros. mapped_units: so many of the first have a descriptor
 * in the page map, which is set to span_nobody; a large block of a TiB has one. */
void span_release_mapped(uintptr_t start, size_t units, size_t mapped_units, bool dirty);
static inline void span_release(uintptr_t start, size_t units, bool dirty)
{
	span_release_mapped(start, units, units, dirty);
}

/* The same for a large block of which the first unit and the one with this number are dirty, no others. */
void span_release_ends(uintptr_t start, size_t units, size_t last);

/* A range that was taken will be released in one piece more: false if what that needs can't be had. Or it is one again. */
bool span_split(void);
void span_join(void);
/* Ranges that are out, as many as releases will come. */
size_t span_ranges(void);

/* Which units of a range that was just taken hold something else than zeros is known until this is called: walks the
 * runs of dirty units. Call span_forget_dirty when done. */
size_t span_dirty_run(uintptr_t start, size_t units, size_t from_unit, size_t *run_units);
void span_forget_dirty(uintptr_t start, size_t units);

/* Units that are taken, and of the free ones those that are dirty: no lock needed. */
size_t span_used_units(void);
size_t span_dirty_units(void);
size_t span_clean_units(void);          /* those that are uncommitted as well */

/* For purge.c, which learns from it whether it gives back too soon. So many units were given back; half of those that
 * were not taken again are forgotten; units taken again before that, since the start (no lock needed). */
void span_note_given_back(size_t units);
void span_forget_given_back(void);
size_t span_taken_again_units(void);

/* For purge.c. The free span with dirty memory that a purge should take next: with aged_only one that has units that
 * were dirty at the last tick already. NULL if there is none. Whole pieces of so many units (a power of two) count. */
struct span *span_find_dirty(bool aged_only, size_t piece_units);
/* Takes out of a free span its first run of dirty (or dirty and aged) pieces, at most max_units or one of them. The caller
 * owns them and gives them back with span_release. False if there is none. */
bool span_take_dirty(struct span *span, bool aged_only, size_t piece_units, size_t max_units, struct span_range *range);
/* Takes pieces of clean, committed units that may be uncommitted, out of one of the largest free spans that has any; at
 * most max_units. As above, but who has uncommitted them says so (region.h) before he gives them back. */
bool span_take_clean(size_t max_units, struct span_range *range);
/* Every unit that is dirty now counts as aged from now on. */
void span_age(void);

/* Debug builds: the invariants of trees, page map and bits. */
bool span_is_valid(void);

#endif

/* Free spans: see span.h.
 *
 * Two treaps ordered by (units, start), one of spans that hold dirty memory, one of clean ones; priorities are a hash
 * of the start, so the shape depends on nothing but the set of spans (Seidel and Aragon 1996: expected depth
 * 2 ln n). A free span's first and last unit have its descriptor in the page map, which is how neighbours find it; no
 * two free spans touch. Per unit one bit says dirty, one says aged. */
#include "space/span.h"

#include "base/check.h"
#include "space/limit.h"
#include "space/meta.h"
#include "space/region.h"

static struct {
	struct span *dirty;             /* roots */
	struct span *clean;
	_Atomic size_t dirty_units;     /* written under space_lock, read without */
	_Atomic size_t used_units;      /* the same */
	size_t clean_units;
	size_t given_back_units;        /* purged of late and not taken again */
	_Atomic size_t taken_again_units;       /* of these, since the start */
} spans;

/* ---- The trees ---- */

static uint64_t priority(const struct span *span)
{
	return (span->start >> UNIT_LOG2) * 0x9e3779b97f4a7c15u;
}

static bool is_before(size_t units, uintptr_t start, const struct span *span)
{
	return units != span->units ? units < span->units : start < span->start;
}

static void tree_insert(struct span **root, struct span *span)
{
	while (*root != NULL && priority(*root) >= priority(span))
		root = is_before(span->units, span->start, *root) ? &(*root)->tree.left : &(*root)->tree.right;

	/* Split what is below into what comes before the new span and what comes after. */
	struct span *rest = *root;
	struct span **left = &span->tree.left;
	struct span **right = &span->tree.right;
	while (rest != NULL) {
		if (is_before(rest->units, rest->start, span)) {
			*left = rest;
			left = &rest->tree.right;
			rest = rest->tree.right;
		} else {
			*right = rest;
			right = &rest->tree.left;
			rest = rest->tree.left;
		}
	}
	*left = *right = NULL;
	*root = span;
}

static void tree_remove(struct span **root, struct span *span)
{
	while (*root != span) {
		DCHECK(*root != NULL);
		root = is_before(span->units, span->start, *root) ? &(*root)->tree.left : &(*root)->tree.right;
	}

	struct span *left = span->tree.left;
	struct span *right = span->tree.right;
	while (left != NULL && right != NULL) {
		if (priority(left) >= priority(right)) {
			*root = left;
			root = &left->tree.right;
			left = left->tree.right;
		} else {
			*root = right;
			root = &right->tree.left;
			right = right->tree.left;
		}
	}
	*root = left != NULL ? left : right;
}

/* The smallest span of at least `units`, lowest address among equals. */
static struct span *tree_best_fit(struct span *root, size_t units)
{
	struct span *best = NULL;

	while (root != NULL) {
		if (root->units >= units) {
			best = root;
			root = root->tree.left;
		} else {
			root = root->tree.right;
		}
	}
	return best;
}

/* ---- Descriptors ---- */

/* A release can't be refused, so whatever it may need is made before something is taken: each range that is out may become
 * a free span of its own, and so may what a cut leaves behind. What was never used stays untouched: it costs address space. */
#define FRESH_PIECES_MAX 64
/* Many pages at a time: with what lies around them in one page they would be there for nothing. */
#define MADE_MIN 512
#define MADE_MAX 4096
/* What a purge needs for a range: one that is cut off, and its own. */
#define DESCRIPTORS_OF_RANGE 2
/* Who gives memory back when no more of it is to be had mustn't need some first: for 8 ranges at once. */
#define KEPT_FOR_PURGES (8 * DESCRIPTORS_OF_RANGE)

static struct {
	struct span *recycled;          /* by list.next */
	struct {
		struct span *next;
		size_t count;
	} fresh[FRESH_PIECES_MAX];      /* never used; none is empty */
	size_t fresh_pieces;
	size_t ready;                   /* recycled and fresh */
	size_t total;
	size_t ranges;                  /* that are out; ready is never less */
} descriptors;

static void descriptor_recycle(struct span *span)
{
	span->kind = SPAN_RETIRED;
	span->list.next = descriptors.recycled;
	descriptors.recycled = span;
	descriptors.ready++;
}

static struct span *descriptor_new(void)
{
	struct span *span = descriptors.recycled;

	DCHECK(descriptors.ready > 0);
	descriptors.ready--;
	if (span != NULL) {
		descriptors.recycled = span->list.next;
		return span;
	}
	size_t last = descriptors.fresh_pieces - 1;
	span = descriptors.fresh[last].next++;
	meta_note_used(sizeof(*span));
	if (--descriptors.fresh[last].count == 0)
		descriptors.fresh_pieces = last;
	return span;
}

static COLD bool descriptors_make(size_t needed)
{
	size_t count = max_size(needed, max_size(MADE_MIN, min_size(descriptors.total / 4, MADE_MAX)));
	struct span *made = meta_alloc_ahead(count * sizeof(*made));

	if (made == NULL && count > needed) {
		count = needed;
		made = meta_alloc_ahead(count * sizeof(*made));
	}
	if (made == NULL)
		return false;
	descriptors.total += count;
	if (descriptors.fresh_pieces < FRESH_PIECES_MAX) {
		descriptors.fresh[descriptors.fresh_pieces].next = made;
		descriptors.fresh[descriptors.fresh_pieces++].count = count;
		descriptors.ready += count;
		return true;
	}
	meta_note_used(count * sizeof(*made));
	for (size_t i = 0; i < count; i++)
		descriptor_recycle(&made[i]);
	return true;
}

/* Whether there are so many besides what the ranges that are out may need. */
static bool descriptors_ensure(size_t count)
{
	size_t needed = descriptors.ranges + count;

	return LIKELY(descriptors.ready >= needed) || descriptors_make(needed - descriptors.ready);
}

/* ---- Free spans ---- */

/* Under space_lock; units may be the negative of what is to be taken off. */
static void total_add(_Atomic size_t *total, size_t units)
{
	atomic_store_explicit(total, atomic_load_explicit(total, memory_order_relaxed) + units, memory_order_relaxed);
}

static struct span **tree_of(const struct span *span)
{
	return span->dirty_units > 0 ? &spans.dirty : &spans.clean;
}

/* So many of the units' dirty bits are set. */
static void free_insert(const struct region *region, struct span *span, uintptr_t start, size_t units, size_t dirty_units)
{
	span->kind = SPAN_FREE;
	span->start = start;
	span->units = units;
	span->dirty_units = dirty_units;
	total_add(&spans.dirty_units, dirty_units);
	spans.clean_units += units - dirty_units;
	page_map_set_in(region, start, 1, span);
	page_map_set_in(region, start + (units - 1) * UNIT_BYTES, 1, span);
	tree_insert(tree_of(span), span);
}

static void free_remove(const struct region *region, struct span *span)
{
	tree_remove(tree_of(span), span);
	total_add(&spans.dirty_units, (size_t)0 - span->dirty_units);
	spans.clean_units -= span->units - span->dirty_units;
	page_map_set_in(region, span->start, 1, &span_nobody);
	page_map_set_in(region, span->start + (span->units - 1) * UNIT_BYTES, 1, &span_nobody);
}

/* How many of the units, which are a free span's, are dirty. */
static size_t dirty_units_in(const struct region *region, const struct span *span, uintptr_t start, size_t units)
{
	if (span->dirty_units == 0 || units == 0)
		return 0;
	return span->dirty_units == span->units ? units
	                                        : region_bits_count(region->dirty, region_unit(region, start), units);
}

/* The free span whose first or last unit is the one at `address`, NULL if there is none. */
static struct span *free_neighbour(const struct region *region, uintptr_t address)
{
	size_t committed = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);

	if (address - region->base >= committed)
		return NULL;
	struct span *span = region_span(region, address);
	return span->kind == SPAN_FREE ? span : NULL;
}

/* Makes [start, start + units), of which so many are dirty, free, merged with its free neighbours. */
static void free_add(const struct region *region, uintptr_t start, size_t units, size_t dirty_units)
{
	struct span *before = free_neighbour(region, start - UNIT_BYTES);
	struct span *after = free_neighbour(region, start + units * UNIT_BYTES);

	if (before != NULL) {
		free_remove(region, before);
		start = before->start;
		units += before->units;
		dirty_units += before->dirty_units;
	}
	if (after != NULL) {
		free_remove(region, after);
		units += after->units;
		dirty_units += after->dirty_units;
		if (before != NULL)
			descriptor_recycle(after);
		else
			before = after;
	}
	free_insert(region, before != NULL ? before : descriptor_new(), start, units, dirty_units);
}

/* Cuts [start, start + units) out of a free span; what is left on both sides stays free, for which a descriptor may be
 * needed. */
static void free_cut(struct span *span, uintptr_t start, size_t units, struct span_range *range)
{
	const struct region *region = region_of((void *)start);
	size_t before = (start - span->start) >> UNIT_LOG2;
	size_t after = span->units - before - units;
	size_t dirty_before = dirty_units_in(region, span, span->start, before);
	size_t dirty_after;

	range->start = start;
	range->units = units;
	range->dirty_units = dirty_units_in(region, span, start, units);
	dirty_after = span->dirty_units - dirty_before - range->dirty_units;
	free_remove(region, span);
	total_add(&spans.used_units, units);
	if (before > 0)
		free_insert(region, span, span->start, before, dirty_before);
	if (after > 0) {
		struct span *rest = before > 0 ? descriptor_new() : span;
		free_insert(region, rest, start + units * UNIT_BYTES, after, dirty_after);
	} else if (before == 0) {
		descriptor_recycle(span);
	}
}

/* The first multiple of `alignment` in the span with `units` units behind it, 0 if there is none. */
static uintptr_t aligned_start(const struct span *span, size_t units, size_t alignment)
{
	uintptr_t start = ROUND_UP(span->start, alignment);

	if (((start - span->start) >> UNIT_LOG2) + units > span->units)
		return 0;
	return start;
}

/* Clean units are taken: as far as memory was given back of late, it was so too soon. */
static void note_taken(const struct span_range *range)
{
	size_t again = min_size(range->units - range->dirty_units, spans.given_back_units);

	spans.given_back_units -= again;
	total_add(&spans.taken_again_units, again);
}

/* What of the units is uncommitted is not after this; false if the kernel refuses. */
static bool commit_again(uintptr_t start, size_t units)
{
	struct region *region = region_of((void *)start);

	return region_commit_again(region, region_unit(region, start), units);
}

/* Whether the limit of the process allows units of a free span to be used: those that are dirty count already. */
static bool may_use(const struct span *span, uintptr_t start, size_t units)
{
	if (LIKELY(limit_bytes() == 0))
		return true;
	return limit_allows((units - dirty_units_in(region_of((void *)start), span, start, units)) * UNIT_BYTES);
}

/* A descriptor for when the range is released is there already. */
static void take_range(struct span *span, uintptr_t start, size_t units, struct span_range *range)
{
	free_cut(span, start, units, range);
	descriptors.ranges++;
	DCHECK(descriptors.ready >= descriptors.ranges);
}

static bool take_from(struct span *span, size_t units, size_t alignment, struct span_range *range)
{
	uintptr_t start = span != NULL ? aligned_start(span, units, alignment) : 0;

	if (start == 0 || !may_use(span, start, units) || !commit_again(start, units))
		return false;
	take_range(span, start, units, range);
	note_taken(range);
	return true;
}

/* The smallest span of the tree with that many committed units; stores where they are. Of all spans that are large
 * enough, one after the other: for when the kernel has refused to commit more. */
static struct span *tree_committed_fit(struct span *root, size_t units, size_t alignment, uintptr_t *start)
{
	struct span *found;

	if (root == NULL)
		return NULL;
	if (root->units < units)
		return tree_committed_fit(root->tree.right, units, alignment, start);
	if ((found = tree_committed_fit(root->tree.left, units, alignment, start)) != NULL)
		return found;
	struct region *region = region_of((void *)root->start);
	size_t end = region_unit(region, root->start) + root->units;
	size_t length;
	for (size_t unit = end - root->units; unit < end; unit += length) {
		unit = region_bits_run(region->uncommitted, unit, end, false, &length);
		*start = ROUND_UP(region->base + unit * UNIT_BYTES, alignment);
		if (region_unit(region, *start) + units <= unit + length)
			return root;
	}
	return tree_committed_fit(root->tree.right, units, alignment, start);
}

static bool take_committed(size_t units, size_t alignment, struct span_range *range)
{
	uintptr_t start;
	struct span *span = NULL;

	if (region_uncommitted_units() > 0 &&
	    ((span = tree_committed_fit(spans.dirty, units, alignment, &start)) != NULL ||
	     (span = tree_committed_fit(spans.clean, units, alignment, &start)) != NULL) &&
	    may_use(span, start, units)) {
		take_range(span, start, units, range);
		note_taken(range);
		return true;
	}
	return false;
}

void span_note_given_back(size_t units)
{
	DCHECK(lock_is_held(&space_lock));
	spans.given_back_units += units;
}

void span_forget_given_back(void)
{
	DCHECK(lock_is_held(&space_lock));
	spans.given_back_units /= 2;
}

size_t span_taken_again_units(void)
{
	return atomic_load_explicit(&spans.taken_again_units, memory_order_relaxed);
}

bool span_take(size_t units, size_t alignment, struct span_range *range)
{
	/* What an aligned start needs at worst; a span without that much may still fit, so both are tried. */
	size_t padded = units + (alignment >> UNIT_LOG2) - 1;

	DCHECK(lock_is_held(&space_lock));
	/* For what a new piece of a region becomes, for what is cut off, and for the range. */
	if (padded < units || !descriptors_ensure(3 + KEPT_FOR_PURGES))
		return false;
	if (take_from(tree_best_fit(spans.dirty, units), units, alignment, range) ||
	    take_from(tree_best_fit(spans.clean, units), units, alignment, range) ||
	    take_from(tree_best_fit(spans.dirty, padded), units, alignment, range) ||
	    take_from(tree_best_fit(spans.clean, padded), units, alignment, range) ||
	    take_committed(units, alignment, range))
		return true;

	struct region *region;
	uintptr_t start;
	size_t new_units;
	if (!limit_allows(units * UNIT_BYTES) || !region_grow(padded, &region, &start, &new_units))
		return false;
	free_add(region, start, new_units, false);
	return take_from(tree_best_fit(spans.clean, padded), units, alignment, range) ||
	       take_from(tree_best_fit(spans.dirty, padded), units, alignment, range) ||
	       take_committed(units, alignment, range);
}

bool span_take_at(uintptr_t start, size_t units, struct span_range *range)
{
	struct region *region = region_of((void *)start);

	DCHECK(lock_is_held(&space_lock));
	if (region == NULL)
		return false;
	struct span *span = free_neighbour(region, start);
	if (span == NULL || span->start != start || span->units < units || !may_use(span, start, units) ||
	    !commit_again(start, units))
		return false;
	free_cut(span, start, units, range);
	return true;
}

/* Its dirty bits are set. */
ALWAYS_INLINE void units_release(struct region *region, size_t first, uintptr_t start, size_t units, size_t mapped_units,
                                 size_t dirty_units)
{
	DCHECK(lock_is_held(&space_lock));
	if (mapped_units > 0)
		page_map_set_in(region, start, mapped_units, &span_nobody);
	region_bits_clear(region->aged, first, units);
	total_add(&spans.used_units, (size_t)0 - units);
	DCHECK(descriptors.ranges > 0);
	descriptors.ranges--;
	free_add(region, start, units, dirty_units);
}

void span_release_mapped(uintptr_t start, size_t units, size_t mapped_units, bool dirty)
{
	struct region *region = region_of((void *)start);
	size_t first = region_unit(region, start);

	if (dirty)
		region_bits_set(region->dirty, first, units);
	else
		region_bits_clear(region->dirty, first, units);
	units_release(region, first, start, units, mapped_units, dirty ? units : 0);
}

void span_release_ends(uintptr_t start, size_t units, size_t last)
{
	struct region *region = region_of((void *)start);
	size_t first = region_unit(region, start);

	DCHECK(last < units);
	region_bits_clear(region->dirty, first, units);
	region_bits_set(region->dirty, first, 1);
	region_bits_set(region->dirty, first + last, 1);
	units_release(region, first, start, units, 1, last == 0 ? 1 : 2);
}

bool span_split(void)
{
	DCHECK(lock_is_held(&space_lock));
	if (!descriptors_ensure(1 + KEPT_FOR_PURGES))
		return false;
	descriptors.ranges++;
	return true;
}

void span_join(void)
{
	DCHECK(lock_is_held(&space_lock));
	descriptors.ranges--;
}

size_t span_ranges(void)
{
	return descriptors.ranges;
}

size_t span_dirty_run(uintptr_t start, size_t units, size_t from_unit, size_t *run_units)
{
	struct region *region = region_of((void *)start);
	size_t first = region_unit(region, start);

	return region_bits_run(region->dirty, first + from_unit, first + units, true, run_units) - first;
}

void span_forget_dirty(uintptr_t start, size_t units)
{
	struct region *region = region_of((void *)start);

	region_bits_clear(region->dirty, region_unit(region, start), units);
	region_bits_clear(region->aged, region_unit(region, start), units);
}

size_t span_used_units(void)
{
	return atomic_load_explicit(&spans.used_units, memory_order_relaxed);
}

size_t span_dirty_units(void)
{
	return atomic_load_explicit(&spans.dirty_units, memory_order_relaxed);
}

size_t span_clean_units(void)
{
	return spans.clean_units;
}

/* ---- For purging ---- */

/* The first whole pieces of one run of bits in [first, end); units 0 if there are none. A piece is so many units, and a
 * multiple of itself. */
static struct span_range pieces_find(const struct region *region, const uint64_t *bits, size_t first, size_t end,
                                     size_t piece_units)
{
	size_t piece_bytes = piece_units * UNIT_BYTES;
	size_t run;

	for (size_t unit = first; (unit = region_bits_run(bits, unit, end, true, &run)) < end; unit += run) {
		uintptr_t from = ROUND_UP(region->base + unit * UNIT_BYTES, piece_bytes);
		uintptr_t to = ROUND_DOWN(region->base + (unit + run) * UNIT_BYTES, piece_bytes);
		if (from < to)
			return (struct span_range){ .start = from, .units = (to - from) >> UNIT_LOG2 };
	}
	return (struct span_range){ 0 };
}

/* The free span that a unit lies in, NULL if it is in none: its descriptor is at its first unit, which is the nearest
 * one below that shows a span. */
static struct span *free_around(const struct region *region, size_t unit)
{
	for (size_t at = unit + 1; at-- > 0;) {
		struct span *span = region_span(region, region->base + at * UNIT_BYTES);
		if (span == &span_nobody)
			continue;
		return span->kind == SPAN_FREE && region_unit(region, span->start) + span->units > unit ? span : NULL;
	}
	return NULL;
}

/* Where the search for units to purge goes on, one place for each kind; under space_lock. */
static struct {
	size_t region;
	size_t unit;
} places[2];

/* Free units that are aged: there may be some. They come by span_age alone, so what was searched through in vain stays so;
 * the bits of a terabyte are not read for each block that is freed. */
static bool maybe_aged;

/* The first unit of [first, end) that a free span starts at; end if there is none. */
static size_t free_start(const struct region *region, size_t first, size_t end)
{
	for (size_t unit = first; unit < end; unit++) {
		const struct span *span = region_span(region, region->base + unit * UNIT_BYTES);
		if (span->kind == SPAN_FREE && region_unit(region, span->start) == unit)
			return unit;
	}
	return end;
}

struct span *span_find_dirty(bool aged_only, size_t piece_units)
{
	if (aged_only && !maybe_aged)
		return NULL;
	/* Each region once, and the first one's beginning again. */
	for (size_t tries = region_count() + 1; tries > 0;) {
		size_t *index = &places[aged_only].region;
		size_t *unit = &places[aged_only].unit;
		struct region *region = region_at(*index < region_count() ? *index : 0);
		size_t units = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed) >> UNIT_LOG2;
		struct span_range found =
		        pieces_find(region, aged_only ? region->aged : region->dirty, *unit, units, piece_units);
		if (found.units == 0) {
			*index = *index + 1 < region_count() ? *index + 1 : 0;
			*unit = 0;
			tries--;
			continue;
		}
		*unit = region_unit(region, found.start);
		struct span *span = free_around(region, *unit);
		if (span != NULL)
			return span;
		/* In somebody's hands right now: being zeroed, or purged. Beside it there may be a free span. */
		*unit = free_start(region, *unit + 1, *unit + found.units);
	}
	if (piece_units == 1)
		maybe_aged &= !aged_only;
	return NULL;
}

bool span_take_dirty(struct span *span, bool aged_only, size_t piece_units, size_t max_units, struct span_range *range)
{
	struct region *region = region_of((void *)span->start);
	size_t first = region_unit(region, span->start);

	DCHECK(lock_is_held(&space_lock));
	struct span_range found = pieces_find(region, aged_only ? region->aged : region->dirty, first, first + span->units,
	                                      piece_units);
	if (found.units == 0 || !descriptors_ensure(DESCRIPTORS_OF_RANGE))
		return false;
	take_range(span, found.start, min_size(found.units, max_size(ROUND_DOWN(max_units, piece_units), piece_units)), range);
	return true;
}

/* The first run of whole pieces of the span that are clean and committed, cut to max_units; units 0 if there is none. */
static struct span_range clean_pieces(const struct span *span, size_t max_units)
{
	struct region *region = region_of((void *)span->start);
	size_t end = region_unit(region, span->start) + span->units;
	struct span_range pieces = { 0 };
	size_t committed, clean;

	for (size_t unit = end - span->units; unit < end; unit += clean) {
		unit = region_bits_run(region->uncommitted, unit, end, false, &committed);
		unit = region_bits_run(region->dirty, unit, unit + committed, false, &clean);
		size_t from = ROUND_UP(unit, UNCOMMIT_UNITS);
		size_t to = min_size(ROUND_DOWN(unit + clean, UNCOMMIT_UNITS), from + max_units);
		if (from < to && region_may_uncommit(region, from, to - from)) {
			pieces.start = region->base + from * UNIT_BYTES;
			pieces.units = to - from;
			break;
		}
	}
	return pieces;
}

/* The largest span first. */
static struct span *tree_clean_pieces(struct span *root, size_t max_units, struct span_range *pieces)
{
	struct span *found = NULL;

	if (root == NULL || (found = tree_clean_pieces(root->tree.right, max_units, pieces)) != NULL ||
	    root->units < UNCOMMIT_UNITS)
		return found;
	*pieces = clean_pieces(root, max_units);
	return pieces->units > 0 ? root : tree_clean_pieces(root->tree.left, max_units, pieces);
}

bool span_take_clean(size_t max_units, struct span_range *range)
{
	struct span_range pieces;
	struct span *span;

	DCHECK(lock_is_held(&space_lock));
	if (spans.clean_units - region_uncommitted_units() < UNCOMMIT_UNITS)
		return false;
	if ((span = tree_clean_pieces(spans.clean, max_units, &pieces)) == NULL &&
	    (span = tree_clean_pieces(spans.dirty, max_units, &pieces)) == NULL)
		return false;
	if (!descriptors_ensure(DESCRIPTORS_OF_RANGE))
		return false;
	take_range(span, pieces.start, pieces.units, range);
	return true;
}

void span_age(void)
{
	/* Bits of units in use are 0 in both maps, so whole words are copied. */
	for (size_t i = 0; i < region_count(); i++) {
		struct region *region = region_at(i);
		size_t units = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed) >> UNIT_LOG2;
		for (size_t word = 0; word < (units + 63) / 64; word++)
			if (region->aged[word] != region->dirty[word])
				region->aged[word] = region->dirty[word];
	}
	maybe_aged = true;
}

/* ---- Invariants ---- */

struct census {
	size_t dirty_units;
	size_t clean_units;
	size_t uncommitted_units;
	size_t count;
	bool valid;
};

static void tree_check(const struct span *root, const struct span *above, bool dirty, struct census *census)
{
	if (root == NULL)
		return;
	struct region *region = region_of((void *)root->start);
	uintptr_t end = root->start + root->units * UNIT_BYTES;
	size_t dirty_units = region_bits_count(region->dirty, region_unit(region, root->start), root->units);

	census->valid &= root->kind == SPAN_FREE && root->units > 0;
	census->valid &= above == NULL || priority(above) >= priority(root);
	census->valid &= root->dirty_units == dirty_units && (dirty_units > 0) == dirty;
	census->valid &= region_span(region, root->start) == root && region_span(region, end - UNIT_BYTES) == root;
	census->valid &= free_neighbour(region, root->start - UNIT_BYTES) == NULL && free_neighbour(region, end) == NULL;
	census->valid &= root->tree.left == NULL || is_before(root->tree.left->units, root->tree.left->start, root);
	census->valid &= root->tree.right == NULL || !is_before(root->tree.right->units, root->tree.right->start, root);
	census->dirty_units += dirty_units;
	census->clean_units += root->units - dirty_units;
	for (size_t unit = region_unit(region, root->start), left = root->units; left > 0; unit++, left--) {
		size_t is_uncommitted = region_bits_count(region->uncommitted, unit, 1);
		census->valid &= is_uncommitted == 0 || region_bits_count(region->dirty, unit, 1) == 0;
		census->uncommitted_units += is_uncommitted;
	}
	census->count++;
	tree_check(root->tree.left, root, dirty, census);
	tree_check(root->tree.right, root, dirty, census);
}

bool span_is_valid(void)
{
	struct census census = { .valid = true };

	DCHECK(lock_is_held(&space_lock));
	tree_check(spans.dirty, NULL, true, &census);
	tree_check(spans.clean, NULL, false, &census);
	census.valid &= descriptors.ready >= descriptors.ranges && descriptors.ready + census.count == descriptors.total;
	return census.valid && census.dirty_units == span_dirty_units() && census.clean_units == spans.clean_units &&
	       census.uncommitted_units <= region_uncommitted_units();
}

/* Where resident memory is: see residency.h.
 *
 * A walk by address over each region meets slabs and large blocks; what lies between them is free spans. What must be
 * known of a span is copied under space_lock; then the kernel is asked, and the ledger read, without any lock or claim.
 * A span that is released meanwhile falsifies how its own pages are split, not how many there are. */
#include "observe/residency.h"

#include "base/bits.h"
#include "block/slab.h"
#include "observe/walk.h"
#include "os/os.h"
#include "space/meta.h"
#include "space/span.h"

/* Pages that the kernel is asked for at a time; those of the largest slab. */
#define PAGES_MAX 256

struct look {
	struct residency sum;
	bool measure;
	bool refused;
};

/* What was seen of a span under space_lock. */
struct view {
	uint8_t kind;                   /* SPAN_FREE: nobody's */
	uintptr_t start;
	uintptr_t end;
	uintptr_t base;                 /* large: start of the block */
	uintptr_t block_end;            /* large */
	const ledger_byte *ledger;      /* slab, like those below */
	size_t block_bytes;
	size_t first_index;
	size_t end_index;
	size_t granule_bytes;
	uint64_t away;
};

/* ---- Which pages are there ---- */

static void ask(struct look *look, uintptr_t from, uintptr_t to, unsigned char *pages)
{
	if (!look->refused && os_resident_pages((void *)from, to - from, pages) != 0)
		look->refused = true;
}

static size_t resident_between(struct look *look, uintptr_t from, uintptr_t to)
{
	unsigned char pages[PAGES_MAX] = { 0 };
	size_t page = os_kernel_page_bytes();
	size_t count = 0;

	for (uintptr_t at = from; at < to && !look->refused; at += PAGES_MAX * page) {
		uintptr_t end = min_size(to, at + PAGES_MAX * page);
		ask(look, at, end, pages);
		for (size_t i = 0; i < (end - at) / page; i++)
			count += pages[i];
	}
	return count * page;
}

static void slab_pages(struct look *look, const struct view *slab, unsigned char *pages)
{
	size_t page = os_kernel_page_bytes();

	if (look->measure) {
		ask(look, slab->start, slab->end, pages);
		return;
	}
	for (size_t at = 0; at < slab->end - slab->start; at += page)
		pages[at / page] = (slab->away >> at / slab->granule_bytes & 1) == 0;
}

/* ---- Slabs ---- */

/* The blocks that touch [from, to). */
static void blocks_between(const struct view *slab, uintptr_t from, uintptr_t to, size_t *first, size_t *count)
{
	size_t end = min_size((to - 1 - slab->base) / slab->block_bytes + 1, slab->end_index);

	*first = max_size((from - slab->base) / slab->block_bytes, slab->first_index);
	*count = end > *first ? end - *first : 0;
}

static size_t less(size_t bytes, size_t cut)
{
	return bytes > cut ? bytes - cut : 0;
}

/* What of a block at the edge of a page lies outside it is not that page's. */
static void cut_block(uint8_t state, size_t outside, size_t *live, size_t *cached)
{
	if (state == LEDGER_LIVE)
		*live = less(*live, outside);
	else if (state != LEDGER_FREE)
		*cached = less(*cached, outside);
}

/* A page that is there, of a granule that is in use. States may change while they are counted: no sum may break by it. */
static void split_page(const struct view *slab, uintptr_t from, uintptr_t to, struct residency *sum)
{
	size_t first, count;

	blocks_between(slab, from, to, &first, &count);
	if (count == 0) {
		sum->waste += to - from;
		return;
	}
	uintptr_t first_start = slab->base + first * slab->block_bytes;
	uintptr_t last_end = first_start + count * slab->block_bytes;
	size_t covered = min_size(last_end, to) - max_size(first_start, from);
	size_t live = ledger_count_live(slab->ledger, first, count) * slab->block_bytes;
	size_t cached = ledger_count_cached(slab->ledger, first, count) * slab->block_bytes;
	if (first_start < from)
		cut_block(ledger_get(&slab->ledger[first]), from - first_start, &live, &cached);
	if (last_end > to)
		cut_block(ledger_get(&slab->ledger[first + count - 1]), last_end - to, &live, &cached);
	live = min_size(live, covered);
	cached = min_size(cached, covered - live);
	sum->live += live;
	sum->cached += cached;
	sum->free_beside_used += covered - live - cached;
	sum->waste += to - from - covered;
}

static void add_slab(struct look *look, const struct view *slab)
{
	unsigned char pages[PAGES_MAX] = { 0 };
	size_t page = os_kernel_page_bytes();

	slab_pages(look, slab, pages);
	for (uintptr_t granule = slab->start; granule < slab->end; granule += slab->granule_bytes) {
		size_t first, count;
		blocks_between(slab, granule, granule + slab->granule_bytes, &first, &count);
		bool is_free = ledger_count_free(slab->ledger, first, count) == count;
		for (uintptr_t at = granule; at < granule + slab->granule_bytes; at += page) {
			if (pages[(at - slab->start) / page] == 0)
				continue;
			if (is_free)
				look->sum.free_granules += page;
			else
				split_page(slab, at, at + page, &look->sum);
		}
	}
}

/* ---- Large blocks, and what is free ---- */

static void add_large(struct look *look, const struct view *large)
{
	size_t page = os_kernel_page_bytes();
	uintptr_t from = ROUND_DOWN(large->base, page);
	uintptr_t to = ROUND_UP(large->block_end, page);
	size_t outside = 0;
	size_t inside = to - from;

	if (look->measure) {
		inside = resident_between(look, from, to);
		outside = resident_between(look, large->start, from) + resident_between(look, to, large->end);
	}
	/* In the block's first and last page. */
	size_t edges = 0;
	if (from < large->base && (!look->measure || resident_between(look, from, from + page) > 0))
		edges += large->base - from;
	if (large->block_end < to && (!look->measure || resident_between(look, to - page, to) > 0))
		edges += to - large->block_end;
	look->sum.live += inside - min_size(edges, inside);
	look->sum.waste += outside + min_size(edges, inside);
}

static void add_free(struct look *look, uintptr_t from, uintptr_t to)
{
	/* Else all dirty units together are counted. */
	if (look->measure && from < to)
		look->sum.free_spans += resident_between(look, from, to);
}

/* ---- All of it ---- */

/* Under space_lock. */
READS_STALE static struct view view_of(const struct span *span)
{
	struct view view = { .kind = span->kind,
		             .start = span->start,
		             .end = span->start + span->units * UNIT_BYTES,
		             .base = span->base };

	if (span->kind == SPAN_SLAB) {
		view.ledger = span->ledger;
		view.block_bytes = span->block_bytes;
		view.first_index = span->first_index;
		view.end_index = span->end_index;
		view.granule_bytes = slab_granule_bytes(span);
		view.away = span->away;
	} else {
		view.block_end = span->base + span->large_bytes;
	}
	return view;
}

static void add_region(struct look *look, const struct region *region)
{
	struct span_walk walk = span_walk_region(region);
	uintptr_t end = walk.end;
	uintptr_t seen = walk.at;

	while (walk.region != NULL && !look->refused) {
		size_t budget = SPAN_WALK_BUDGET;
		struct view view = { .kind = SPAN_FREE };

		lock_take(&space_lock);
		const struct span *span = span_walk_next(&walk, &budget);
		if (span != NULL)
			view = view_of(span);
		lock_release(&space_lock);
		/* One that begins before what was seen is new there. */
		uintptr_t at = walk.region == NULL ? end : walk.at;
		if (span == NULL || view.start < seen)
			view.start = at;
		add_free(look, seen, view.start);
		if (view.start < at && view.kind == SPAN_SLAB)
			add_slab(look, &view);
		else if (view.start < at)
			add_large(look, &view);
		seen = at;
	}
}

static void add_metadata(struct look *look)
{
	void *start;
	size_t bytes;

	for (size_t i = 0; look->measure; i++) {
		lock_take(&space_lock);
		bool is_one = meta_arena(i, &start, &bytes);
		lock_release(&space_lock);
		if (!is_one)
			break;
		look->sum.metadata += resident_between(look, (uintptr_t)start, (uintptr_t)start + bytes);
	}
	for (size_t i = 0; i < region_count(); i++) {
		const struct region *region = region_at(i);
		size_t committed = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);
		lock_take(&space_lock);
		uintptr_t end = (uintptr_t)region->page_map + region->page_map_bytes;
		lock_release(&space_lock);
		/* The bits lie before the page map and are committed whole. */
		look->sum.metadata += look->measure ? resident_between(look, (uintptr_t)region->dirty, end)
		                                    : ROUND_UP((committed >> UNIT_LOG2) * sizeof(uintptr_t), os_page_bytes());
	}
}

static struct look look_around(bool measure)
{
	struct look look = { .measure = measure, .sum.measured = measure };

	for (size_t i = 0; i < region_count(); i++)
		add_region(&look, region_at(i));
	add_metadata(&look);
	if (!measure) {
		lock_take(&space_lock);
		look.sum.metadata += meta_used_bytes();
		look.sum.free_spans = span_dirty_units() * UNIT_BYTES;
		lock_release(&space_lock);
	}
	return look;
}

struct residency residency_collect(bool measure)
{
	struct look look = look_around(measure);

	return look.refused ? look_around(false).sum : look.sum;
}

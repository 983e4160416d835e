/* Large blocks: see large.h.
 *
 *   span:  | colour | block: the request rounded up to whole pages | rest of the last unit, untouched |
 *
 * The block starts in the span's first unit, the only one with this descriptor in the page map: its multiplier 1 makes
 * exactly `base` a block's start; the other units show span_nobody. */
#include "block/large.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/memcheck.h"
#include "block/hidden.h"
#include "block/large_secure.h"
#include "block/secure.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/limit.h"
#include "space/meta.h"
#include "space/purge.h"
#include "space/span.h"

/* From here on a block whose size leaves no room for a colour gets another unit of address space (and one more page)
 * for it. */
#define COLOUR_WORTH_BYTES (128 * KIB)
/* From here on blocks start in the first page of their span: it is there already where a block started before. */
#define PAGE_COLOUR_BYTES (256 * KIB)
/* Dirty memory above this is dropped rather than zeroed: touching it costs more than its first fault, and the program
 * may never use all of it. */
#define ZERO_BY_PURGE_BYTES (1 * MIB)

#define GRANULE_ALIGNMENT ((size_t)16)

static struct span *retired;            /* under space_lock */
static size_t colour_counter;           /* under space_lock */
static _Atomic uint64_t moved_bytes;

/* What was moved is a mapping of its own until it is freed, and splits another: vm.max_map_count is 65,530 and belongs to
 * the program as well. So many are anybody's; from there on a mapping must be worth more the more there are, twice as
 * many bytes with each so many: with mappings of up to 32 MiB there are at most 88, of up to 1 TiB 208. A block that is a
 * large part of all that is in use is moved all the same: there are few such at a time. */
#define MAPPINGS_FREE 32
#define MAPPINGS_PER_DOUBLING 8
#define MAPPING_BYTES_MIN (256 * KIB)
#define LARGE_PART_FRACTION 32
#define MAPPINGS_MAX 512
static _Atomic size_t moved_mappings;
/* What a block has grown in place since it was moved is copied if it is no more than this part of it: moved, it would be
 * one mapping more. */
#define COPIED_FRACTION 8

static struct span *header_take(void)
{
	struct span *large = retired;

	if (large == NULL)
		return meta_alloc(sizeof(*large));
	retired = large->list.next;
	return large;
}

static void header_retire(struct span *large)
{
	large->kind = SPAN_RETIRED;
	large->list.next = retired;
	retired = large;
}

/* How far into its span a block of `bytes` starts: by cache lines where they cost no page or next to nothing, and by
 * pages, as far as `room`, what its units leave, allows. */
static size_t colour_next(size_t bytes, size_t alignment, size_t room)
{
	size_t page = os_page_bytes();
	size_t count = colour_counter++;
	size_t line_room = bytes >= COLOUR_WORTH_BYTES ? page - CACHE_LINE_BYTES : (page - bytes % page) % page;
	size_t lines = min_size(line_room, room) / CACHE_LINE_BYTES + 1;
	/* 11 is odd and not near 1: neighbours in time are lines apart, all are used before one returns. */
	size_t colour = count * 11 % lines * CACHE_LINE_BYTES;
	size_t pages = bytes < PAGE_COLOUR_BYTES ? (room - colour) / page + 1 : 1;

	colour += count / lines % pages * page;
	return ROUND_DOWN(colour, alignment);
}

#define COLOUR_CHOOSE SIZE_MAX

/* Takes a span for the block, with space_lock held. */
static struct span *span_for_block(size_t bytes, size_t alignment, size_t colour, struct span_range *range)
{
	size_t page = os_page_bytes();
	size_t usable = ROUND_UP(bytes, page);
	/* An alignment above a page leaves no room in front. */
	size_t lead = colour == COLOUR_CHOOSE && alignment <= page ? secure.large_lead_bytes : 0;
	size_t span_bytes = usable + secure.large_trailer_bytes + (colour == COLOUR_CHOOSE ? lead : colour);
	struct span *large = header_take();

	if (large == NULL)
		return NULL;
	if (colour == COLOUR_CHOOSE && usable >= COLOUR_WORTH_BYTES && page < UNIT_BYTES && alignment <= CACHE_LINE_BYTES &&
	    IS_ALIGNED(usable, UNIT_BYTES))
		span_bytes += page;
	if (!span_take(UNIT_COUNT(span_bytes), max_size(alignment, UNIT_BYTES), range)) {
		header_retire(large);
		return NULL;
	}
	if (colour == COLOUR_CHOOSE && alignment > page) {
		colour = 0;
	} else if (colour == COLOUR_CHOOSE) {
		/* The block starts in the first unit. */
		size_t room = min_size(range->units * UNIT_BYTES - usable - secure.large_trailer_bytes - lead, UNIT_BYTES - page - lead);
		colour = lead + colour_next(bytes, alignment, room);
	}
	DCHECK(colour < UNIT_BYTES);
	large->start = range->start;
	large->units = range->units;
	large->base = range->start + colour;
	large->large_bytes = usable;
	large->ledger = &large->large_state;
	large->first_index = 0;
	large->end_index = 1;
	large->moved.units = large->moved.mappings = 0;
	large->secured = secure.on;
	large->kind = SPAN_LARGE;
	atomic_store_explicit(&large->owner, OWNER_NONE, memory_order_relaxed);
	return large;
}

/* From here on the block exists. */
static void *publish(struct span *large)
{
	ledger_set(&large->large_state, LEDGER_LIVE);
	atomic_store_explicit(&large->multiplier, 1, memory_order_release);
	page_map_set(large->start, 1, large);
	return (void *)large->base;
}

static size_t large_usable_max(const struct span *large)
{
	return large->start + large->units * UNIT_BYTES - large->base - secure.large_trailer_bytes;
}

/* Zeroes what is dirty of a block that nobody else knows yet. */
static void zero_dirty(const struct span *large)
{
	uintptr_t end = large->base + large->large_bytes;
	size_t page = os_page_bytes();
	size_t run;

	for (size_t unit = 0;; unit += run) {
		lock_take(&space_lock);
		unit = span_dirty_run(large->start, large->units, unit, &run);
		lock_release(&space_lock);
		if (unit >= large->units)
			return;
		uintptr_t from = max_size(large->start + unit * UNIT_BYTES, large->base);
		uintptr_t to = min_size(large->start + (unit + run) * UNIT_BYTES, end);
		if (from >= to)
			continue;
		uintptr_t page_from = ROUND_UP(from, page);
		if (to - from >= ZERO_BY_PURGE_BYTES &&
		    purge_range((void *)page_from, ROUND_UP(to, page) - page_from) == 0)
			to = page_from;
		memcheck_writable((void *)from, to - from);
		os_zero((void *)from, to - from);
	}
}

/* Nothing of the block is there any more. */
static int drop_all(const struct span *large)
{
	size_t page = os_page_bytes();
	uintptr_t from = ROUND_DOWN(large->base, page);

	return purge_range((void *)from, ROUND_UP(large->base + large->large_bytes, page) - from);
}

/* All is zero, unless somebody wrote to freed memory: what seems to be gone may be there again. */
static void *make_secure(struct span *large, const struct span_range *range, size_t bytes, bool zeroed, size_t *changed)
{
	*changed = large->large_bytes;
	large->born_zero = range->dirty_units <= range->units / 2;
	if (range->dirty_units == range->units && large_is_verified(bytes))
		*changed = large_mend(large);
	else if (zeroed && drop_all(large) != 0)
		zero_dirty(large);
	large_fortify(large, bytes);
	lock_take(&space_lock);
	span_forget_dirty(range->start, range->units);
	void *block = publish(large);
	lock_release(&space_lock);
	return block;
}

void *large_make_secure(size_t bytes, size_t alignment, bool zeroed, size_t *changed)
{
	struct span_range range;

	if (bytes > PTRDIFF_MAX - 3 * UNIT_BYTES || alignment > PTRDIFF_MAX / 2)
		return NULL;
	lock_take(&space_lock);
	struct span *large = span_for_block(max_size(bytes, 1), alignment, COLOUR_CHOOSE, &range);
	lock_release(&space_lock);
	return large != NULL ? make_secure(large, &range, bytes, zeroed, changed) : NULL;
}

void *large_make(size_t bytes, size_t alignment, bool zeroed)
{
	struct span_range range;

	if (bytes > PTRDIFF_MAX - 2 * UNIT_BYTES || alignment > PTRDIFF_MAX / 2)
		return NULL;
	lock_take(&space_lock);
	struct span *large = span_for_block(max_size(bytes, 1), alignment, COLOUR_CHOOSE, &range);
	if (large != NULL && (!zeroed || range.dirty_units == 0)) {
		span_forget_dirty(range.start, range.units);
		void *block = publish(large);
		memcheck_allocated(block, large->large_bytes, zeroed);
		lock_release(&space_lock);
		return block;
	}
	lock_release(&space_lock);
	if (large == NULL)
		return NULL;
	zero_dirty(large);
	lock_take(&space_lock);
	span_forget_dirty(range.start, range.units);
	void *block = publish(large);
	memcheck_allocated(block, large->large_bytes, zeroed);
	lock_release(&space_lock);
	return block;
}

/* Gives units back to the free spans. error: what mapping them afresh gave, if that was tried. `moved`: the limit of the
 * process doesn't count them since their pages went elsewhere. */
static void place_release(uintptr_t start, size_t units, size_t mapped_units, int error, bool dirty, bool moved)
{
	lock_take(&space_lock);
	if (error != -ENOMEM)
		span_release_mapped(start, units, mapped_units, dirty);
	else if (mapped_units > 0)
		page_map_set(start, mapped_units, &span_nobody);        /* nobody gets it any more */
	if (moved && error != -ENOMEM)
		limit_note(units * UNIT_BYTES);
	lock_release(&space_lock);
}

/* Units of a large block that it no longer needs go back: by a fresh mapping if they came by mremap (their VMA would
 * never merge again), at once if they are more than may be retained. */
static void units_release(uintptr_t start, size_t units, size_t mapped_units, bool moved, bool clean)
{
	int error = moved ? huge_remap_fresh((void *)start, units * UNIT_BYTES) : 0;
	bool dirty = moved ? error != 0 : !clean && !purge_before_release((void *)start, units * UNIT_BYTES);

	place_release(start, units, mapped_units, error, dirty, false);
}

ALWAYS_INLINE void release(struct span *large, enum remains remains)
{
	bool moved = large->moved.units > 0;

	atomic_store_explicit(&large->multiplier, 0, memory_order_release);
	if (remains != REMAINS_ENDS || moved)
		units_release(large->start, large->units, 1, moved, remains == REMAINS_NOTHING);
	atomic_fetch_sub_explicit(&moved_mappings, large->moved.mappings, memory_order_relaxed);
	lock_take(&space_lock);
	if (remains == REMAINS_ENDS && !moved)
		span_release_ends(large->start, large->units, (large->base + large->asked_bytes + secure.canary_bytes - 1 - large->start) >> UNIT_LOG2);
	header_retire(large);
	lock_release(&space_lock);
}

static void reveal(struct span *large)
{
	if (hidden_uncover(large))
		release(large, REMAINS_NOTHING);
}

static bool hide(struct span *large)
{
	struct span *leaving;

	if (!hidden_cover(large))
		return false;
	while ((leaving = hidden_put(large)) != NULL)
		reveal(leaving);
	return true;
}

bool large_reveal_all(void)
{
	struct span *large;
	bool any = false;

	while ((large = hidden_take()) != NULL) {
		reveal(large);
		any = true;
	}
	return any;
}

static NOINLINE void release_secured(struct span *large)
{
	large_guards_remove(large);
	if (secure.hides_large && secure.guard_bytes > 0 && hide(large))
		return;
	release(large, large_wipe_whole(large));
}

void large_release(struct span *large)
{
	memcheck_freed((void *)large->base, large->large_bytes);
	if (UNLIKELY(large->secured))
		release_secured(large);
	else
		release(large, REMAINS_ALL);
}

/* Gives back the units behind the block's last page. If metadata for them can't be had, the block stays as it is. */
static void shrink(struct span *large, size_t bytes)
{
	size_t usable = ROUND_UP(max_size(bytes, 1), os_page_bytes());
	size_t keep = UNIT_COUNT(large->base + usable + secure.large_trailer_bytes - large->start);
	size_t tail_units = large->units - keep;
	bool moved = large->moved.units > keep;

	lock_take(&space_lock);
	if (tail_units > 0 && !span_split()) {
		lock_release(&space_lock);
		return;
	}
	memcheck_resized((void *)large->base, large->large_bytes, usable);
	large->large_bytes = usable;
	large->units = keep;
	large->moved.units = min_size(large->moved.units, keep);
	lock_release(&space_lock);
	if (tail_units > 0)
		units_release(large->start + keep * UNIT_BYTES, tail_units, 0, moved, false);
}

bool large_resize_in_place(struct span *large, size_t bytes)
{
	size_t usable = ROUND_UP(bytes, os_page_bytes());
	struct span_range range;

	if (bytes > PTRDIFF_MAX - 2 * UNIT_BYTES)
		return false;
	if (bytes <= large->large_bytes) {
		/* A little smaller stays as it is: the usable size must not promise less than what may be asked again. */
		if (large->large_bytes - bytes >= max_size(UNIT_BYTES, large->large_bytes / 4))
			shrink(large, bytes);
		return true;
	}
	lock_take(&space_lock);
	bool fits = usable <= large_usable_max(large);
	if (!fits) {
		uintptr_t end = large->start + large->units * UNIT_BYTES;
		size_t more = UNIT_COUNT(large->base + usable + secure.large_trailer_bytes - end);
		fits = span_take_at(end, more, &range);
		if (fits) {
			span_forget_dirty(range.start, range.units);
			large->units += more;
		}
	}
	if (fits) {
		memcheck_resized((void *)large->base, large->large_bytes, usable);
		large->large_bytes = usable;
	}
	lock_release(&space_lock);
	return fits;
}

/* The same, with a security level. What is given up is wiped first. */
bool large_ask_again(struct span *large, size_t bytes)
{
	size_t asked = large->asked_bytes;

	if (bytes > PTRDIFF_MAX - 3 * UNIT_BYTES)
		return false;
	if (bytes < asked)
		large_wipe(large->base + bytes, asked - bytes);
	os_zero((char *)large->base + asked, secure.canary_bytes);
	if (bytes <= large->large_bytes && large->large_bytes - bytes < max_size(UNIT_BYTES, large->large_bytes / 4)) {
		large_set_asked(large, bytes);
		return true;
	}
	large_guards_remove(large);
	bool fits = large_resize_in_place(large, bytes);
	large_fortify(large, fits ? bytes : asked);
	return fits;
}

/* How a block is moved: so many of its first units by mremap, into so many mappings, the others by copying them. */
struct move {
	size_t units;
	size_t mappings;
};

static bool is_worth_mappings(const struct span *large, struct move move)
{
	size_t total = atomic_load_explicit(&moved_mappings, memory_order_relaxed) - large->moved.mappings + move.mappings;

	if (total <= MAPPINGS_FREE ||
	    (total <= MAPPINGS_MAX && large->units >= span_used_units() / LARGE_PART_FRACTION))
		return true;
	size_t doublings = (total - MAPPINGS_FREE - 1) / MAPPINGS_PER_DOUBLING + 1;
	return doublings < 32 && move.units * UNIT_BYTES / move.mappings >> doublings >= MAPPING_BYTES_MIN;
}

/* False if the block is better copied whole. */
static bool move_choose(const struct span *large, struct move *move)
{
	size_t rest = large->units - large->moved.units;

	*move = (struct move){ large->units, large->moved.mappings + (rest > 0) };
	if (rest > large->units / COPIED_FRACTION && is_worth_mappings(large, *move))
		return true;
	if (rest > large->units / 2)
		return false;
	*move = (struct move){ large->moved.units, large->moved.mappings };
	return is_worth_mappings(large, *move);
}

/* Gives back the span that a block was moved from. */
static void source_release(struct span *large, struct move move)
{
	/* What was moved from it is zero now; what had itself been moved needs its place in the region's mapping back. */
	bool moved = large->moved.units > 0;
	int error = moved ? huge_remap_fresh((void *)large->start, large->moved.units * UNIT_BYTES) : 0;

	atomic_store_explicit(&large->multiplier, 0, memory_order_release);
	place_release(large->start, move.units, 1, error, error != 0, true);
	if (large->units > move.units) {
		uintptr_t rest = large->start + move.units * UNIT_BYTES;
		if (secure.on && large->base + large->asked_bytes > rest)
			large_wipe(rest, large->base + large->asked_bytes - rest);
		place_release(rest, large->units - move.units, 0, 0, true, false);
	}
	lock_take(&space_lock);
	header_retire(large);
	lock_release(&space_lock);
}

static void copy_rest(const struct span *from, const struct span *to, size_t moved_bytes)
{
	size_t bytes = from->base - from->start + from->large_bytes;

	if (bytes <= moved_bytes)
		return;
	memcheck_writable((char *)to->start + moved_bytes, bytes - moved_bytes);
	memcpy((char *)to->start + moved_bytes, (char *)from->start + moved_bytes, bytes - moved_bytes);
}

/* A span for what is moved. two: what is left of the other is released in two pieces. NULL: all is as it was. */
static struct span *target_take(size_t bytes, size_t colour, size_t moving, bool two)
{
	struct span *target = NULL;
	struct span_range range;

	lock_take(&space_lock);
	/* What moves is there once. */
	limit_note((size_t)0 - moving);
	if (!two || span_split()) {
		target = span_for_block(bytes, GRANULE_ALIGNMENT, colour, &range);
		if (target == NULL && two)
			span_join();
	}
	if (target != NULL)
		span_forget_dirty(target->start, target->units);
	else
		limit_note(moving);
	lock_release(&space_lock);
	return target;
}

/* Nothing was moved. */
static void target_give_back(struct span *target, size_t moving, bool two)
{
	/* A hole must never be handed out: without a mapping the span stays out of use. */
	bool whole = huge_remap_fresh((void *)target->start, target->units * UNIT_BYTES) == 0;

	lock_take(&space_lock);
	if (whole)
		span_release_mapped(target->start, target->units, 0, false);
	if (two)
		span_join();
	header_retire(target);
	limit_note(moving);
	lock_release(&space_lock);
}

void *large_move(struct span *large, size_t bytes)
{
	struct move move;

	if (bytes > PTRDIFF_MAX - 2 * UNIT_BYTES || !move_choose(large, &move))
		return NULL;
	DCHECK(ROUND_UP(bytes, os_page_bytes()) > large_usable_max(large));
	if (secure.on)
		large_unfortify(large);
	size_t moving = move.units * UNIT_BYTES;
	bool two = move.units < large->units;
	struct span *target = target_take(bytes, large->base - large->start, moving, two);
	if (target != NULL && os_move((void *)large->start, (void *)target->start, moving) != 0) {
		target_give_back(target, moving, two);
		target = NULL;
	}
	if (target == NULL) {
		if (secure.on)
			large_fortify(large, large->asked_bytes);
		return NULL;
	}
	copy_rest(large, target, moving);
	if (secure.on)
		large_fortify(target, bytes);
	atomic_fetch_add_explicit(&moved_mappings, move.mappings - large->moved.mappings, memory_order_relaxed);
	lock_take(&space_lock);
	target->moved.units = move.units;
	target->moved.mappings = move.mappings;
	void *block = publish(target);
	lock_release(&space_lock);
	memcheck_allocated(block, target->large_bytes, true);
	memcheck_freed((void *)large->base, large->large_bytes);
	atomic_fetch_add_explicit(&moved_bytes, moving, memory_order_relaxed);
	source_release(large, move);
	return block;
}

size_t large_good_size(size_t bytes)
{
	return ROUND_UP(max_size(bytes, 1), os_page_bytes());
}

uint64_t large_moved_bytes(void)
{
	return atomic_load_explicit(&moved_bytes, memory_order_relaxed);
}

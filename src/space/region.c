/* Regions: see space.h for the picture and region.h for the contracts. */
#include "space/region.h"

#include "base/check.h"
#include "base/memcheck.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/limit.h"
#include "space/meta.h"

/* A region is several times the machine's memory, so that one is enough for almost every program. */
#define MEMORY_MULTIPLE 4
#define RESERVE_BYTES_MIN (64 * GIB)
#define RESERVE_BYTES_MAX (8192 * GIB)
/* Under RLIMIT_AS the first region takes this fraction of the limit, each other one that: the rest is for the program's
 * own mappings. */
#define LIMIT_FRACTION_FIRST 4
#define LIMIT_FRACTION 8
#define LIMITED_BYTES_MIN (2 * MIB)
/* Where address space is short, so much of a region's size must be left beside it. */
#define REST_FRACTION 4
/* The metadata of a region full of the smallest blocks is a fifteenth of it. */
#define META_FRACTION 12
/* Commit steps: this part of what is committed, within these bounds. What is committed and was never touched counts under
 * a limit, and lengthens a core file. */
#define COMMIT_FRACTION 32
#define COMMIT_BYTES_MIN (1 * MIB)
/* What was uncommitted is committed again in aligned steps of so many units. */
#define COMMIT_AGAIN_UNITS ((8 * MIB) >> UNIT_LOG2)
/* Each run of uncommitted units is a mapping and splits another. */
#define UNCOMMITTED_RUNS_MAX 16
#define UNCOMMITTED_RUNS_MAX_LIMITED 64
#define COMMIT_BYTES_MAX (64 * MIB)
/* Whole page-table pages, and huge pages where somebody wants them. */
#define REGION_ALIGNMENT (2 * MIB)

struct span span_nobody ALIGNED(64) = { .owner = OWNER_NONE };
struct region region_first;
struct lock space_lock = LOCK_INIT(LOCK_RANK_SPACE);

/* regions[0] is region_first. Appended under space_lock, the count stored last (release). */
static struct region *regions[REGION_MAX];
static _Atomic size_t regions_count;

size_t region_count(void)
{
	return atomic_load_explicit(&regions_count, memory_order_acquire);
}

struct region *region_at(size_t index)
{
	return regions[index];
}

struct region *region_of_any(const void *address)
{
	size_t count = region_count();

	for (size_t i = 0; i < count; i++)
		if ((uintptr_t)address - regions[i]->base < regions[i]->reserved_bytes)
			return regions[i];
	return NULL;
}

struct span *span_of_any(const void *address)
{
	struct region *region = region_of(address);

	if (region == NULL ||
	    (uintptr_t)address - region->base >= atomic_load_explicit(&region->committed_bytes, memory_order_acquire))
		return &span_nobody;
	return region_span(region, (uintptr_t)address);
}

/* ---- Bits ---- */

#define WORD_BITS 64

static uint64_t word_mask(size_t from, size_t to)
{
	uint64_t up_to = to == WORD_BITS ? ~(uint64_t)0 : ((uint64_t)1 << to) - 1;

	return up_to & ~(((uint64_t)1 << from) - 1);
}

/* Calls `act` on each word of the range with the mask of the bits in it. */
#define FOR_EACH_WORD(first, count, word, mask) \
	for (size_t at_ = (first), end_ = (first) + (count), word = 0, mask = 0; \
	     at_ < end_ && (word = at_ / WORD_BITS, \
	                    mask = word_mask(at_ % WORD_BITS, min_size(end_ - word * WORD_BITS, WORD_BITS)), 1); \
	     at_ = (word + 1) * WORD_BITS)

void region_bits_set(uint64_t *bits, size_t first, size_t count)
{
	FOR_EACH_WORD(first, count, word, mask)
		bits[word] |= mask;
}

void region_bits_clear(uint64_t *bits, size_t first, size_t count)
{
	/* Untouched words stay so: they have no memory yet. */
	FOR_EACH_WORD(first, count, word, mask)
		if ((bits[word] & mask) != 0)
			bits[word] &= ~mask;
}

size_t region_bits_count(const uint64_t *bits, size_t first, size_t count)
{
	size_t total = 0;

	FOR_EACH_WORD(first, count, word, mask)
		total += popcount64(bits[word] & mask);
	return total;
}

/* Index of the first bit that equals `value` in [first, end), or end. */
static size_t bits_find(const uint64_t *bits, size_t first, size_t end, bool value)
{
	uint64_t other = value ? 0 : ~(uint64_t)0;

	if (first >= end)
		return end;
	size_t word = first / WORD_BITS;
	size_t last = (end - 1) / WORD_BITS;
	uint64_t hits = (bits[word] ^ other) & ~(uint64_t)0 << first % WORD_BITS;
	/* A terabyte of blocks that were never touched is a quarter of a million words. */
	while (hits == 0 && ++word <= last)
		hits = bits[word] ^ other;
	return hits != 0 ? min_size(word * WORD_BITS + (size_t)__builtin_ctzll(hits), end) : end;
}

size_t region_bits_run(const uint64_t *bits, size_t first, size_t end, bool value, size_t *length)
{
	size_t start = bits_find(bits, first, end, value);

	*length = bits_find(bits, start, end, !value) - start;
	return start;
}

/* ---- Reserving ---- */

/* What there is to reserve from, as it was at the start: later a sandbox may kill for the question. Where less is allowed by
 * then, reservations halve. */
static struct {
	bool known;
	uint64_t limit;
	uint64_t memory_bytes;
} machine;

uint64_t region_know_machine(void)
{
	if (!machine.known) {
		machine.limit = os_address_space_limit();
		machine.memory_bytes = os_memory_bytes();
		machine.known = true;
	}
	return machine.limit;
}

static size_t reserve_bytes_wanted(size_t needed_bytes)
{
	size_t wanted;

	uint64_t limit = region_know_machine();
	if (limit != UINT64_MAX)
		wanted = max_size(limit / (region_count() == 0 ? LIMIT_FRACTION_FIRST : LIMIT_FRACTION), LIMITED_BYTES_MIN);
	else
		wanted = max_size(RESERVE_BYTES_MIN, min_size(machine.memory_bytes * MEMORY_MULTIPLE, RESERVE_BYTES_MAX));
	return ROUND_UP(max_size(wanted, needed_bytes), UNIT_BYTES);
}

/* dirty, aged, uncommitted */
#define BIT_MAPS 3

struct layout {
	size_t bits_bytes;              /* all bit maps */
	size_t page_map_bytes;
	size_t meta_bytes;
	size_t alignment;
	size_t total;
};

static struct layout layout_of(size_t region_bytes)
{
	size_t page = os_page_bytes();
	size_t units = region_bytes >> UNIT_LOG2;
	struct layout layout;

	layout.bits_bytes = ROUND_UP(BIT_MAPS * ROUND_UP(units, WORD_BITS) / 8, page);
	layout.page_map_bytes = ROUND_UP(units * sizeof(uintptr_t), page);
	layout.meta_bytes = ROUND_UP(region_bytes / META_FRACTION + 16 * page, page);
	layout.alignment = region_bytes >= 8 * REGION_ALIGNMENT ? REGION_ALIGNMENT : UNIT_BYTES;
	layout.total = page + layout.bits_bytes + layout.page_map_bytes + page + layout.meta_bytes + page +
	               layout.alignment + region_bytes;
	return layout;
}

/* What so much of the page map takes with its units' bits, which are accessible from the start and touched as the page map
 * grows. */
static size_t map_memory(size_t page_map_bytes)
{
	return page_map_bytes + BIT_MAPS * os_page_bytes() + page_map_bytes / 8 / sizeof(uintptr_t) * BIT_MAPS;
}

/* A region that just fits would leave nothing of the address space: so much is to be left for the program's own mappings. */
static void *reserve_but(size_t bytes, size_t rest)
{
	size_t all = bytes + ROUND_UP(rest, os_page_bytes());
	void *memory = os_reserve(all);

	if (memory == NULL || rest == 0)
		return memory;
	os_unmap(memory, all);
	return os_reserve(bytes);
}

/* Reserves a region of at least needed_bytes, better wanted_bytes: halves until the kernel agrees. */
static struct region *region_reserve(size_t needed_bytes)
{
	size_t page = os_page_bytes();
	size_t bytes = reserve_bytes_wanted(needed_bytes);
	size_t count = region_count();
	struct layout layout = layout_of(bytes);
	bool limited = machine.limit != UINT64_MAX;
	char *memory;

	if (count == REGION_MAX)
		return NULL;
	while ((memory = reserve_but(layout.total, limited && bytes > needed_bytes ? bytes / REST_FRACTION : 0)) == NULL) {
		if (bytes <= needed_bytes)
			return NULL;
		bytes = max_size(ROUND_DOWN(bytes / 2, UNIT_BYTES), needed_bytes);
		layout = layout_of(bytes);
		limited = true;
	}
	huge_note_reserved(memory, layout.total);
	/* The bits whole, and of the page map what one page holds: 32 MiB of region with 4 KiB pages. */
	size_t map_step = min_size(layout.page_map_bytes, page);
	char *bits = memory + page;
	char *meta = bits + layout.bits_bytes + layout.page_map_bytes + page;
	if (!limit_allows(map_memory(map_step)) || os_commit(bits, layout.bits_bytes + map_step) != 0) {
		os_unmap(memory, layout.total);
		return NULL;
	}
	memcheck_own(bits, layout.bits_bytes + map_step);
	limit_note(map_memory(map_step));
	meta_add_arena(meta, layout.meta_bytes);
	struct region *region = count == 0 ? &region_first : meta_alloc(sizeof(*region));
	if (region == NULL) {
		/* The arena has been announced, so the reservation stays; it is address space only. */
		return NULL;
	}
	region->reservation = (uintptr_t)memory;
	region->reservation_bytes = layout.total;
	region->dirty = (uint64_t *)bits;
	size_t words = ROUND_UP(bytes >> UNIT_LOG2, WORD_BITS) / WORD_BITS;
	region->aged = region->dirty + words;
	region->uncommitted = region->aged + words;
	region->page_map = (_Atomic uintptr_t *)(bits + layout.bits_bytes);
	region->page_map_bytes = map_step;
	region->base = ROUND_UP((uintptr_t)meta + layout.meta_bytes + page, layout.alignment);
	region->reserved_bytes = bytes;
	huge_note_region((void *)region->base, bytes);
	regions[count] = region;
	atomic_store_explicit(&regions_count, count + 1, memory_order_release);
	return region;
}

/* ---- Committing ---- */

static bool page_map_cover(struct region *region, size_t committed_bytes)
{
	size_t needed = ROUND_UP((committed_bytes >> UNIT_LOG2) * sizeof(uintptr_t), os_page_bytes());

	if (needed <= region->page_map_bytes)
		return true;
	size_t more = needed - region->page_map_bytes;
	if (!limit_allows(map_memory(more)) || os_commit((char *)region->page_map + region->page_map_bytes, more) != 0)
		return false;
	memcheck_own((char *)region->page_map + region->page_map_bytes, more);
	limit_note(map_memory(more));
	region->page_map_bytes = needed;
	return true;
}

static bool region_commit(struct region *region, size_t bytes)
{
	size_t committed = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);

	if (bytes > region->reserved_bytes - committed || !page_map_cover(region, committed + bytes) ||
	    os_commit((char *)region->base + committed, bytes) != 0)
		return false;
	atomic_store_explicit(&region->committed_bytes, committed + bytes, memory_order_release);
	return true;
}

/* Commits at least `units` more of a region that has room for them; a refusal comes from the kernel. */
static bool region_extend(struct region *region, size_t units, uintptr_t *start, size_t *new_units)
{
	size_t committed = atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);
	size_t needed = units * UNIT_BYTES;
	size_t step = max_size(COMMIT_BYTES_MIN, min_size(committed / COMMIT_FRACTION, COMMIT_BYTES_MAX));

	step = min_size(max_size(ROUND_DOWN(step, UNIT_BYTES), needed), region->reserved_bytes - committed);
	if (!region_commit(region, step)) {
		step = needed;
		if (!region_commit(region, step))
			return false;
	}
	*start = region->base + committed;
	*new_units = step >> UNIT_LOG2;
	return true;
}

/* ---- Uncommitting ---- */

/* Under space_lock. */
static struct {
	size_t units;
	size_t runs;                    /* of them; in a fork's child more, an upper bound */
	size_t runs_max;
	bool in_child;
} uncommitted = { .runs_max = UNCOMMITTED_RUNS_MAX };

void region_expect_limits(bool limited)
{
	uncommitted.runs_max = limited ? UNCOMMITTED_RUNS_MAX_LIMITED : UNCOMMITTED_RUNS_MAX;
}

size_t region_uncommitted_units(void)
{
	return uncommitted.units;
}

static bool is_uncommitted(const struct region *region, size_t unit)
{
	return unit < region->reserved_bytes >> UNIT_LOG2 &&
	       (region->uncommitted[unit / WORD_BITS] >> unit % WORD_BITS & 1) != 0;
}

/* How many runs of uncommitted units end just before the units, or begin just behind them. */
static size_t runs_beside(const struct region *region, size_t first, size_t count)
{
	return (size_t)(first > 0 && is_uncommitted(region, first - 1)) + is_uncommitted(region, first + count);
}

bool region_may_uncommit(const struct region *region, size_t first, size_t count)
{
	DCHECK(lock_is_held(&space_lock));
	return uncommitted.runs < uncommitted.runs_max || runs_beside(region, first, count) > 0;
}

void region_note_uncommitted(struct region *region, size_t first, size_t count)
{
	DCHECK(lock_is_held(&space_lock));
	uncommitted.runs = uncommitted.runs + 1 - runs_beside(region, first, count);
	uncommitted.units += count;
	region_bits_set(region->uncommitted, first, count);
}

static bool commit_run(struct region *region, size_t first, size_t count)
{
	if (os_commit((char *)region->base + first * UNIT_BYTES, count * UNIT_BYTES) != 0)
		return false;
	/* What was one run is none, one or two. A child's memory has a history (anon_vma) that new memory lacks, so there
	 * the mapping stays, and is never forgotten. */
	uncommitted.runs += runs_beside(region, first, count) + uncommitted.in_child - 1;
	uncommitted.units -= count;
	region_bits_clear(region->uncommitted, first, count);
	return true;
}

bool region_commit_again(struct region *region, size_t first, size_t count)
{
	size_t end = first + count;
	size_t far_end = min_size(ROUND_UP(end, COMMIT_AGAIN_UNITS), region->reserved_bytes >> UNIT_LOG2);
	size_t length;

	DCHECK(lock_is_held(&space_lock));
	if (uncommitted.units == 0)
		return true;
	for (size_t unit = first;; unit += length) {
		unit = region_bits_run(region->uncommitted, unit, end, true, &length);
		if (unit == end)
			return true;
		/* With too many runs none is cut in two. */
		bool whole = uncommitted.runs >= uncommitted.runs_max;
		size_t low = whole ? 0 : ROUND_DOWN(unit, COMMIT_AGAIN_UNITS);
		size_t from = unit;
		while (from > low && is_uncommitted(region, from - 1))
			from--;
		size_t to = unit + length < end ? unit + length : bits_find(region->uncommitted, unit, far_end, false);
		if (commit_run(region, from, to - from))
			continue;
		from = whole ? from : unit;
		if (!commit_run(region, from, unit + length - from))
			return false;
	}
}

void region_fork_child(void)
{
	uncommitted.in_child = true;
}

static bool has_room(const struct region *region, size_t bytes)
{
	return bytes <= region->reserved_bytes - atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);
}

bool region_grow(size_t units, struct region **region, uintptr_t *start, size_t *new_units)
{
	size_t needed_bytes;

	DCHECK(lock_is_held(&space_lock));
	if (!multiply_checked(units, UNIT_BYTES, &needed_bytes) || needed_bytes > PTRDIFF_MAX)
		return false;
	for (size_t i = 0; i < region_count(); i++) {
		*region = regions[i];
		/* Where there is room it is memory that is short: another region would not get any either. */
		if (has_room(*region, needed_bytes))
			return region_extend(*region, units, start, new_units);
	}
	*region = region_reserve(needed_bytes);
	return *region != NULL && region_extend(*region, units, start, new_units);
}

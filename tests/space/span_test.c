/* Free spans against a shadow of every unit: which span is taken is foretold, and after each step all invariants hold. */
#include "model/support.h"

#include "os/os.h"
#include "space/region.h"
#include "space/span.h"

/* ---- The shadow: one state per unit of the first region ---- */

enum unit_state { UNIT_CLEAN, UNIT_DIRTY, UNIT_AGED, UNIT_TAKEN };

#define SHADOW_UNITS ((size_t)1 << 16)

static uint8_t shadow[SHADOW_UNITS];
static size_t shadow_units;

/* What is committed anew is free and clean. */
static void shadow_follow(void)
{
	size_t units = region_first.committed_bytes >> UNIT_LOG2;

	MUST(units <= SHADOW_UNITS);
	for (; shadow_units < units; shadow_units++)
		shadow[shadow_units] = UNIT_CLEAN;
}

static uintptr_t unit_address(size_t unit)
{
	return region_first.base + unit * UNIT_BYTES;
}

/* A maximal run of free units. */
struct run {
	size_t start;
	size_t units;
	size_t dirty;
};

/* The run that starts at `unit` or after it; units 0 if there is none. */
static struct run next_run(size_t unit)
{
	struct run run = { .start = unit };

	while (run.start < shadow_units && shadow[run.start] == UNIT_TAKEN)
		run.start++;
	while (run.start + run.units < shadow_units && shadow[run.start + run.units] != UNIT_TAKEN)
		run.dirty += shadow[run.start + run.units++] != UNIT_CLEAN;
	return run;
}

static struct run best_fit(size_t units, bool dirty)
{
	struct run best = { 0 };

	for (struct run run = next_run(0); run.units > 0; run = next_run(run.start + run.units))
		if (run.units >= units && (run.dirty > 0) == dirty && (best.units == 0 || run.units < best.units))
			best = run;
	return best;
}

/* Where the units would start, SIZE_MAX if they don't fit. */
static size_t fit(struct run run, size_t units, size_t alignment)
{
	size_t start = (ROUND_UP(unit_address(run.start), alignment) - region_first.base) >> UNIT_LOG2;

	return run.units > 0 && start + units <= run.start + run.units ? start : SIZE_MAX;
}

/* What span_take must answer, as span.h says: best fit, dirty before clean; SIZE_MAX: the region must grow. */
static size_t foretell(size_t units, size_t alignment)
{
	size_t padded = units + (alignment >> UNIT_LOG2) - 1;
	const size_t sizes[] = { units, units, padded, padded };

	for (size_t i = 0; i < 4; i++) {
		size_t start = fit(best_fit(sizes[i], i % 2 == 0), units, alignment);
		if (start != SIZE_MAX)
			return start;
	}
	return SIZE_MAX;
}

static size_t foretell_after_growth(size_t units, size_t alignment)
{
	size_t padded = units + (alignment >> UNIT_LOG2) - 1;
	size_t start = fit(best_fit(padded, false), units, alignment);

	return start != SIZE_MAX ? start : fit(best_fit(padded, true), units, alignment);
}

struct held {
	size_t start;
	size_t units;
	bool written;
};

#define HELD_MAX 48
#define UNITS_MAX 40

static struct held held[HELD_MAX];
static size_t held_count;

static void check_all(void)
{
	size_t clean = 0, dirty = 0;

	assert_true(span_is_valid());
	for (size_t i = 0; i < shadow_units; i++) {
		clean += shadow[i] == UNIT_CLEAN;
		dirty += shadow[i] == UNIT_DIRTY || shadow[i] == UNIT_AGED;
	}
	assert_int_equal(span_dirty_units(), dirty);
	assert_int_equal(span_clean_units(), clean);
	assert_int_equal(span_ranges(), held_count);
}

/* ---- The steps ---- */

/* The range is the caller's: free until now, its dirty units counted right, zero where it says so. */
static void check_taken(const struct span_range *range, size_t start, size_t units)
{
	size_t dirty = 0;

	assert_int_equal(range->start, unit_address(start));
	assert_int_equal(range->units, units);
	for (size_t i = start; i < start + units; i++) {
		assert_int_not_equal(shadow[i], UNIT_TAKEN);
		dirty += shadow[i] != UNIT_CLEAN;
		if (shadow[i] == UNIT_CLEAN)
			assert_int_equal(*(uint64_t *)(unit_address(i) + 4096), 0);
		assert_ptr_equal(span_of((void *)unit_address(i)), &span_nobody);
	}
	assert_int_equal(range->dirty_units, dirty);
	/* The runs of dirty units are those of the shadow. */
	size_t length;
	for (size_t unit = 0; unit < units;) {
		size_t from = span_dirty_run(range->start, units, unit, &length);
		for (size_t i = unit; i < from; i++)
			assert_int_equal(shadow[start + i], UNIT_CLEAN);
		for (size_t i = from; i < from + length; i++)
			assert_int_not_equal(shadow[start + i], UNIT_CLEAN);
		unit = from + length;
		assert_true(unit <= units && (length > 0 || unit == units));
	}
	span_forget_dirty(range->start, units);
	assert_int_equal(span_dirty_run(range->start, units, 0, &length), units);
	memset(shadow + start, UNIT_TAKEN, units);
}

static void hold(size_t start, size_t units, bool write)
{
	held[held_count++] = (struct held){ start, units, write };
	for (size_t i = start; write && i < start + units; i++)
		*(uint64_t *)(unit_address(i) + 4096) = 0x5a5a5a5a;
}

static void step_take(struct random *random)
{
	size_t units = 1 + random_below(random, random_below(random, 4) == 0 ? UNITS_MAX : 6);
	size_t alignment = UNIT_BYTES << (random_below(random, 3) == 0 ? random_below(random, 5) : 0);
	size_t expected = foretell(units, alignment);
	struct span_range range;

	if (held_count == HELD_MAX)
		return;
	assert_true(span_take(units, alignment, &range));
	if (expected == SIZE_MAX) {
		assert_true(region_first.committed_bytes >> UNIT_LOG2 > shadow_units);
		shadow_follow();
		expected = foretell_after_growth(units, alignment);
	}
	assert_int_equal(region_first.committed_bytes >> UNIT_LOG2, shadow_units);
	assert_true(IS_ALIGNED(range.start, alignment));
	check_taken(&range, expected, units);
	hold(expected, units, random_below(random, 2) == 0);
}

static void step_take_at(struct random *random)
{
	size_t start, units = 1 + random_below(random, 6);
	struct span_range range;

	if (held_count == HELD_MAX)
		return;
	/* Mostly behind what is held, as a block that grows asks. */
	if (held_count > 0 && random_below(random, 4) > 0) {
		const struct held *before = &held[random_below(random, held_count)];
		start = before->start + before->units;
	} else {
		start = random_below(random, shadow_units + 2);
	}
	struct run run = next_run(start);
	bool is_run_start = start < shadow_units && (start == 0 || shadow[start - 1] == UNIT_TAKEN);
	bool expected = is_run_start && run.start == start && run.units >= units;
	assert_int_equal(span_take_at(unit_address(start), units, &range), expected);
	if (expected) {
		check_taken(&range, start, units);
		hold(start, units, false);
		/* It is released alone. */
		assert_true(span_split());
	}
}

static void release(const struct held *what)
{
	bool dirty = what->written;

	for (size_t i = what->start; i < what->start + what->units; i++)
		dirty |= *(uint64_t *)(unit_address(i) + 4096) != 0;
	memset(shadow + what->start, dirty ? UNIT_DIRTY : UNIT_CLEAN, what->units);
	span_release(unit_address(what->start), what->units, dirty);
}

static void step_release(struct random *random)
{
	if (held_count == 0)
		return;
	struct held *what = &held[random_below(random, held_count)];
	if (what->units > 1 && random_below(random, 3) == 0) {
		/* A part, as a block that shrinks does. */
		struct held tail = *what;
		size_t keep = 1 + random_below(random, what->units - 1);
		tail.start += keep;
		tail.units -= keep;
		what->units = keep;
		assert_true(span_split());
		release(&tail);
		return;
	}
	release(what);
	*what = held[--held_count];
}

static void step_purge(struct random *random)
{
	bool aged_only = random_below(random, 2) == 0;
	size_t max_units = 1 + random_below(random, 8);
	struct span *span = span_find_dirty(aged_only, 1);
	struct span_range range;
	size_t wanted = 0;

	for (size_t i = 0; i < shadow_units; i++)
		wanted += shadow[i] == UNIT_AGED || (!aged_only && shadow[i] == UNIT_DIRTY);
	assert_int_equal(span != NULL, wanted > 0);
	if (span == NULL)
		return;
	size_t span_start = (span->start - region_first.base) >> UNIT_LOG2;
	size_t span_end = span_start + span->units;
	assert_true(span_take_dirty(span, aged_only, 1, max_units, &range));
	/* The span's first run of such units, cut to what was asked. */
	size_t start = span_start;
	while (start < span_end && shadow[start] != UNIT_AGED && (aged_only || shadow[start] != UNIT_DIRTY))
		start++;
	size_t units = 0;
	while (units < max_units && start + units < span_end &&
	       (shadow[start + units] == UNIT_AGED || (!aged_only && shadow[start + units] == UNIT_DIRTY)))
		units++;
	assert_int_equal(range.start, unit_address(start));
	assert_int_equal(range.units, units);
	assert_int_equal(range.dirty_units, units);
	assert_int_equal(os_purge((void *)range.start, units * UNIT_BYTES), 0);
	span_release(range.start, units, false);
	memset(shadow + start, UNIT_CLEAN, units);
}

/* What is uncommitted is free and clean, all else can be read. */
static void check_uncommitted(void)
{
	size_t uncommitted = 0;

	for (size_t i = 0; i < shadow_units; i++) {
		if (region_bits_count(region_first.uncommitted, i, 1) == 0) {
			(void)*(volatile char *)unit_address(i);
			continue;
		}
		assert_int_equal(shadow[i], UNIT_CLEAN);
		uncommitted++;
	}
	assert_int_equal(region_uncommitted_units(), uncommitted);
}

static size_t uncommitted_count;

static void step_uncommit(struct random *random)
{
	struct span_range range;

	if (!span_take_clean(UNCOMMIT_UNITS * (1 + random_below(random, 2)), &range))
		return;
	size_t first = region_unit(&region_first, range.start);
	assert_int_equal(first % UNCOMMIT_UNITS, 0);
	assert_int_equal(range.units % UNCOMMIT_UNITS, 0);
	assert_int_equal(range.dirty_units, 0);
	for (size_t i = first; i < first + range.units; i++)
		assert_int_equal(shadow[i], UNIT_CLEAN);
	assert_int_equal(os_uncommit((void *)range.start, range.units * UNIT_BYTES), 0);
	region_note_uncommitted(&region_first, first, range.units);
	span_release(range.start, range.units, false);
	check_uncommitted();
	uncommitted_count++;
}

static void step_age(void)
{
	span_age();
	for (size_t i = 0; i < shadow_units; i++)
		if (shadow[i] == UNIT_DIRTY)
			shadow[i] = UNIT_AGED;
}

static void test_random_steps(void **state UNUSED)
{
	struct random random = random_start(5);

	lock_take(&space_lock);
	shadow_follow();
	for (size_t i = 0, count = rounds(60000, 1500); i < count; i++) {
		/* Phases that fill and phases that empty. */
		size_t filling = i / 500 % 2 == 0 ? 8 : 4;
		size_t choice = random_below(&random, 16);
		if (choice < filling)
			step_take(&random);
		else if (choice < filling + 1)
			step_take_at(&random);
		else if (choice < 14)
			step_release(&random);
		else if (choice < 15)
			step_purge(&random);
		else if (random_below(&random, 8) == 0)
			step_age();
		else
			step_uncommit(&random);
		check_all();
	}
	check_uncommitted();
	assert_true(uncommitted_count > 0);
	/* Everything comes back in one piece. */
	while (held_count > 0)
		release(&held[--held_count]);
	check_all();
	struct run run = next_run(0);
	assert_int_equal(run.start, 0);
	assert_int_equal(run.units, shadow_units);
	lock_release(&space_lock);
}

static void test_impossible_requests(void **state UNUSED)
{
	struct span_range range;

	lock_take(&space_lock);
	assert_false(span_take(SIZE_MAX, UNIT_BYTES, &range));
	assert_false(span_take(SIZE_MAX - 1, 4 * UNIT_BYTES, &range));
	assert_false(span_take((size_t)PTRDIFF_MAX >> UNIT_LOG2, UNIT_BYTES, &range));
	assert_false(span_take(1, (size_t)1 << 61, &range));
	assert_false(span_take_at(0, 1, &range));
	assert_false(span_take_at((uintptr_t)&range, 1, &range));
	assert_true(span_is_valid());
	lock_release(&space_lock);
}

/* A dirty span that is larger is better than a clean one that fits. */
static void test_dirty_first(void **state UNUSED)
{
	struct span_range small, wall, large, taken;

	lock_take(&space_lock);
	assert_true(span_take(3, UNIT_BYTES, &small));
	assert_true(span_take(1, UNIT_BYTES, &wall));
	assert_true(span_take(30, UNIT_BYTES, &large));
	span_forget_dirty(small.start, 3);
	span_forget_dirty(large.start, 30);
	/* Nothing dirty but the large one's first unit. */
	struct span *span;
	while ((span = span_find_dirty(false, 1)) != NULL && span_take_dirty(span, false, 1, 1000, &taken)) {
		assert_int_equal(os_purge((void *)taken.start, taken.units * UNIT_BYTES), 0);
		span_release(taken.start, taken.units, false);
	}
	os_purge((void *)small.start, 3 * UNIT_BYTES);
	span_release(small.start, 3, false);
	assert_true(span_split());
	span_release(large.start, 1, true);
	os_purge((void *)(large.start + UNIT_BYTES), 29 * UNIT_BYTES);
	span_release(large.start + UNIT_BYTES, 29, false);
	assert_true(span_is_valid());
	assert_int_equal(span_dirty_units(), 1);
	assert_true(span_take(3, UNIT_BYTES, &taken));
	assert_int_equal(taken.dirty_units, 1);
	span_release(taken.start, 3, true);
	span_release(wall.start, 1, false);
	lock_release(&space_lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_steps),
		cmocka_unit_test(test_impossible_requests),
		cmocka_unit_test(test_dirty_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Giving free spans' memory back: how much, when, and whether it says the truth. */
#include "model/support.h"

#include <inttypes.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <sys/resource.h>

#include "base/memcheck.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "space/region.h"
#include "space/span.h"

#define HOUR_MS 3600000

/* Without what tests before this one have taught. */
static void configure(uint64_t retain_bytes, uint64_t decay_ms)
{
	forget_given_back();
	purge_configure(retain_bytes, 0, UINT64_MAX, decay_ms);
}

/* Free spans of `count` times `units` units, a unit in use between them, all touched. */
static void make_dirty(size_t count, size_t units)
{
	struct span_range ranges[64], walls[64];

	MUST(count <= 64);
	lock_take(&space_lock);
	for (size_t i = 0; i < count; i++) {
		MUST(span_take(units, UNIT_BYTES, &ranges[i]) && span_take(1, UNIT_BYTES, &walls[i]));
		span_forget_dirty(ranges[i].start, units);
	}
	lock_release(&space_lock);
	for (size_t i = 0; i < count; i++)
		memset((void *)ranges[i].start, 0xff, units * UNIT_BYTES);
	lock_take(&space_lock);
	for (size_t i = 0; i < count; i++)
		span_release(ranges[i].start, units, true);
	for (size_t i = 0; i < count; i++)
		span_release(walls[i].start, 1, false);
	lock_release(&space_lock);
}

static size_t dirty_bytes(void)
{
	return span_dirty_units() * UNIT_BYTES;
}

static size_t resident(void)
{
	return os_resident_bytes((void *)region_first.base, region_first.committed_bytes);
}

static void assert_valid(void)
{
	lock_take(&space_lock);
	bool valid = span_is_valid();
	lock_release(&space_lock);
	assert_true(valid);
}

static void test_nothing_is_dirty(void **state UNUSED)
{
	assert_int_equal(purge_all(0), 0);
	purge_tick();
	assert_int_equal(purge_figures().purge_count, 0);
}

static void test_all(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	configure(1024 * MIB, HOUR_MS);
	make_dirty(20, 13);
	size_t before = resident();
	struct purge_figures figures = purge_figures();

	assert_int_equal(dirty_bytes(), 20 * 13 * UNIT_BYTES);
	assert_int_equal(purge_all(0), 20 * 13 * UNIT_BYTES);
	assert_int_equal(dirty_bytes(), 0);
	assert_int_equal(before - resident(), 20 * 13 * UNIT_BYTES);
	assert_int_equal(purge_figures().purged_bytes - figures.purged_bytes, 20 * 13 * UNIT_BYTES);
	assert_true(purge_figures().purge_count > figures.purge_count);
	assert_int_equal(purge_all(0), 0);
	assert_valid();
	/* It reads as zero now. */
	for (size_t at = 0; at < region_first.committed_bytes; at += 4096)
		if (region_bits_count(region_first.uncommitted, at >> UNIT_LOG2, 1) == 0)
			assert_int_equal(*(char *)(region_first.base + at), 0);
}

/* What is dirty but was not touched counts as what it is: not there. */
static void test_counts_what_was_there(void **state UNUSED)
{
	SKIP_COUNTED_PAGES("mincore tells of those");
	struct span_range range;

	lock_take(&space_lock);
	assert_true(span_take(10, UNIT_BYTES, &range));
	span_forget_dirty(range.start, 10);
	lock_release(&space_lock);
	os_purge((void *)range.start, range.units * UNIT_BYTES);
	((char *)range.start)[5 * UNIT_BYTES] = 1;
	lock_take(&space_lock);
	span_release(range.start, 10, true);
	lock_release(&space_lock);
	assert_int_equal(purge_all(0), os_page_bytes());
}

static void test_keeps(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	make_dirty(10, 16);
	size_t before = resident();
	size_t said = purge_all(6 * 16 * UNIT_BYTES);

	assert_int_equal(said, 4 * 16 * UNIT_BYTES);
	assert_int_equal(before - resident(), said);
	assert_int_equal(dirty_bytes(), 6 * 16 * UNIT_BYTES);
	assert_int_equal(purge_all(6 * 16 * UNIT_BYTES), 0);
	assert_int_equal(purge_all(0), 6 * 16 * UNIT_BYTES);
}

/* Ticks bring what is dirty down to what may be retained, and no further. */
static void test_retain(void **state UNUSED)
{
	configure(8 * MIB, HOUR_MS);
	assert_int_equal(purge_retained_max(), 8 * MIB);
	make_dirty(40, 32);
	assert_int_equal(dirty_bytes(), 80 * MIB);
	/* An eighth more is borne. */
	for (size_t i = 0; i < 200 && dirty_bytes() > 9 * MIB; i++) {
		size_t before = dirty_bytes();
		purge_tick();
		assert_true(dirty_bytes() < before);
		assert_true(before - dirty_bytes() <= 16 * MIB);
	}
	assert_int_equal(dirty_bytes(), 8 * MIB);
	make_dirty(1, 15);
	for (size_t i = 0; i < 100; i++)
		purge_tick();
	assert_int_equal(dirty_bytes(), 8 * MIB + 15 * UNIT_BYTES);
	purge_set_retain(2 * MIB);
	for (size_t i = 0; i < 100; i++)
		purge_tick();
	assert_int_equal(dirty_bytes(), 2 * MIB);
	assert_int_equal(purge_all(0), 2 * MIB);
	assert_valid();
}

/* The larger of bytes and percent, a credit for what was needed again, and the hard limit. */
static void test_retained_max(void **state UNUSED)
{
	struct span_range range, other;

	purge_configure(8 * MIB, 25, 64 * MIB, HOUR_MS);
	assert_int_equal(purge_retained_max(), 8 * MIB);
	lock_take(&space_lock);
	assert_true(span_take(100 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	lock_release(&space_lock);
	assert_in_range(purge_retained_max(), 25 * MIB - 128, 25 * MIB);
	/* Of what is in use some is known to be free. */
	purge_set_free_in_slabs(60 * MIB);
	assert_in_range(purge_retained_max(), 10 * MIB - 128, 10 * MIB);
	purge_set_free_in_slabs(0);
	/* Given back too early: what is taken again raises it, up to the hard limit. */
	lock_take(&space_lock);
	span_release(range.start, range.units, true);
	lock_release(&space_lock);
	memset((void *)range.start, 1, range.units * UNIT_BYTES);
	assert_true(purge_all(0) > 0);
	lock_take(&space_lock);
	assert_true(span_take(60 * MIB / UNIT_BYTES, UNIT_BYTES, &other));
	lock_release(&space_lock);
	purge_tick();
	assert_in_range(purge_retained_max(), 60 * MIB, 64 * MIB);
	lock_take(&space_lock);
	span_release(other.start, other.units, false);
	lock_release(&space_lock);
	configure(0, HOUR_MS);
	assert_int_equal(purge_retained_max(), 0);
}

/* The credit is bounded by what has been in use, or by four times that where little of what is purged was there. */
static void test_credit_follows_density(void **state UNUSED)
{
	struct span_range range;

	configure(1 * MIB, HOUR_MS);
	lock_take(&space_lock);
	assert_true(span_take(64 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	lock_release(&space_lock);
	purge_tick();
	purge_credit(1024 * MIB);
	size_t peak = purge_retained_max() - 1 * MIB;
	assert_true(peak >= 64 * MIB);
	assert_int_equal(purge_weigh(16, UINT64_MAX), 16);
	purge_credit(1024 * MIB);
	assert_in_range(purge_retained_max() - 1 * MIB, peak - peak / 16, peak + peak / 16);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(purge_weigh(1000, 0), 0);
	purge_credit(1024 * MIB);
	assert_in_range(purge_retained_max() - 1 * MIB, 4 * peak - peak / 16, 4 * peak + peak / 16);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(purge_weigh(1000, UINT64_MAX), 1000);
	purge_credit(1);
	assert_in_range(purge_retained_max() - 1 * MIB, peak - peak / 16, peak + peak / 16);
	lock_take(&space_lock);
	span_release(range.start, range.units, false);
	lock_release(&space_lock);
	configure(0, HOUR_MS);
}

/* A block that alone is more than may be retained goes before it is released, others stay. */
static void test_before_release(void **state UNUSED)
{
	struct span_range range;

	configure(1 * MIB, HOUR_MS);
	lock_take(&space_lock);
	assert_true(span_take(2 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	lock_release(&space_lock);
	memset((void *)range.start, 1, 2 * MIB);
	assert_false(purge_before_release((void *)range.start, 1 * MIB));
	assert_int_equal(*(char *)range.start, 1);
	assert_true(purge_before_release((void *)range.start, 2 * MIB));
	assert_int_equal(*(char *)range.start, 0);
	lock_take(&space_lock);
	span_release(range.start, range.units, false);
	lock_release(&space_lock);
}

static void short_of_memory(enum pressure level)
{
	atomic_store_explicit(&pressure_now, level, memory_order_relaxed);
}

/* While memory is short little may be retained, whatever is live or was needed again, or nothing. */
static void test_pressure(void **state UNUSED)
{
	struct span_range range;

	configure(8 * MIB, HOUR_MS);
	purge_configure(8 * MIB, 1000, UINT64_MAX, HOUR_MS);
	lock_take(&space_lock);
	assert_true(span_take(16 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	lock_release(&space_lock);
	purge_tick();
	purge_credit(1024 * MIB);
	size_t usual = purge_retained_max();
	assert_true(usual > 100 * MIB);
	short_of_memory(PRESSURE_SOME);
	assert_int_equal(purge_retained_max(), 4 * MIB);
	purge_set_retain(3 * MIB);
	assert_int_equal(purge_retained_max(), 3 * MIB);
	purge_set_retain(8 * MIB);

	memset((void *)range.start, 1, 16 * MIB);
	assert_false(purge_before_release((void *)range.start, 4 * MIB));
	assert_true(purge_before_release((void *)range.start, 4 * MIB + UNIT_BYTES));
	assert_int_equal(*(char *)range.start, 0);
	purge_set_background(true);
	assert_false(purge_before_release((void *)(range.start + 8 * MIB), 8 * MIB));
	short_of_memory(PRESSURE_MUCH);
	assert_int_equal(purge_retained_max(), 0);
	assert_true(purge_before_release((void *)(range.start + 8 * MIB), 8 * MIB));
	assert_true(purge_before_release((void *)(range.start + 6 * MIB), UNIT_BYTES));
	assert_int_equal(((char *)range.start)[6 * MIB], 0);
	purge_set_background(false);
	short_of_memory(PRESSURE_NONE);
	assert_in_range(purge_retained_max(), usual, usual + 8 * MIB);
	purge_configure(8 * MIB, 1000, 2 * MIB, HOUR_MS);
	short_of_memory(PRESSURE_SOME);
	assert_int_equal(purge_retained_max(), 2 * MIB);
	short_of_memory(PRESSURE_NONE);
	lock_take(&space_lock);
	span_release(range.start, range.units, false);
	lock_release(&space_lock);

	/* What is dirty goes with the next slow paths. */
	configure(1024 * MIB, HOUR_MS);
	make_dirty(10, 30);
	purge_tick();
	assert_int_equal(dirty_bytes(), 300 * UNIT_BYTES);
	short_of_memory(PRESSURE_SOME);
	for (size_t i = 0; i < 20; i++)
		purge_tick();
	assert_in_range(dirty_bytes(), 4 * MIB, 4 * MIB + MIB / 2);
	short_of_memory(PRESSURE_MUCH);
	for (size_t i = 0; i < 20; i++)
		purge_tick();
	assert_int_equal(dirty_bytes(), 0);
	short_of_memory(PRESSURE_NONE);
}

/* Where huge pages are wanted, whole ones go, unless memory is short or somebody asks for all. */
static void test_huge_pieces(void **state UNUSED)
{
	struct span_range range;
	size_t huge_units = HUGE_BYTES / UNIT_BYTES;

	if (!IS_ALIGNED(region_first.base, HUGE_BYTES))
		skip();
	configure(0, HOUR_MS);
	huge_configure(HUGE_WANTED);
	lock_take(&space_lock);
	assert_true(span_take(8 * huge_units, HUGE_BYTES, &range));
	span_forget_dirty(range.start, range.units);
	/* All but the first and the last unit, with one in use in the second huge page: 5 whole ones. */
	uintptr_t last = range.start + 8 * HUGE_BYTES - UNIT_BYTES;
	uintptr_t used = range.start + HUGE_BYTES + 7 * UNIT_BYTES;
	for (size_t i = 0; i < 4; i++)
		assert_true(span_split());
	span_release(range.start + UNIT_BYTES, huge_units + 6, true);
	span_release(used + UNIT_BYTES, 7 * huge_units - 9, true);
	lock_release(&space_lock);
	size_t dirty = dirty_bytes();
	assert_int_equal(dirty, (8 * huge_units - 3) * UNIT_BYTES);
	assert_true(purge_is_needed());
	for (size_t i = 0; i < 2000; i++)
		purge_tick();
	assert_int_equal(dirty - dirty_bytes(), 5 * HUGE_BYTES);
	assert_false(purge_is_needed());
	purge_background();
	assert_int_equal(dirty - dirty_bytes(), 5 * HUGE_BYTES);
	short_of_memory(PRESSURE_SOME);
	assert_true(purge_is_needed());
	for (size_t i = 0; i < 2000; i++)
		purge_tick();
	short_of_memory(PRESSURE_NONE);
	assert_int_equal(dirty_bytes(), 0);
	assert_valid();
	make_dirty(3, 5);
	assert_false(purge_is_needed());
	purge_all(0);
	assert_int_equal(dirty_bytes(), 0);
	huge_configure(HUGE_NONE);
	lock_take(&space_lock);
	span_release(range.start, 1, false);
	span_release(used, 1, false);
	span_release(last, 1, false);
	lock_release(&space_lock);
	assert_valid();
}

static void test_no_decay_is_at_once(void **state UNUSED)
{
	configure(1024 * MIB, 0);
	assert_int_equal(purge_retained_max(), 0);
	make_dirty(4, 10);
	for (size_t i = 0; i < 10; i++)
		purge_tick();
	assert_int_equal(dirty_bytes(), 0);
	assert_valid();
}

/* What has lain for longer than the decay goes; however slow the machine is, not before two ticks have passed. */
static void test_decay(void **state UNUSED)
{
	configure(1024 * MIB, 200);
	make_dirty(6, 20);
	uint64_t start = os_now_ms();
	while (dirty_bytes() > 0) {
		assert_true(os_now_ms() - start < 120000);
		sleep_ms(10);
		purge_tick();
	}
	assert_true(os_now_ms() - start >= 90);
	assert_valid();
}

/* What was used in between is young again. */
static void test_use_stops_decay(void **state UNUSED)
{
	struct span_range range;

	configure(1024 * MIB, HOUR_MS);
	make_dirty(1, 20);
	lock_take(&space_lock);
	span_age();
	assert_non_null(span_find_dirty(true, 1));
	assert_true(span_take(20, UNIT_BYTES, &range));
	span_forget_dirty(range.start, 20);
	span_release(range.start, 20, true);
	assert_null(span_find_dirty(true, 1));
	assert_non_null(span_find_dirty(false, 1));
	lock_release(&space_lock);
	purge_all(0);
}

/* A range in use: its memory goes, and is counted. */
static void test_range(void **state UNUSED)
{
	struct span_range range;
	struct purge_figures before = purge_figures();

	lock_take(&space_lock);
	assert_true(span_take(2, UNIT_BYTES, &range));
	lock_release(&space_lock);
	memset((void *)range.start, 1, 2 * UNIT_BYTES);
	assert_int_equal(purge_range((void *)range.start, UNIT_BYTES), 0);
	assert_int_equal(((char *)range.start)[100], 0);
	assert_int_equal(((char *)range.start)[UNIT_BYTES], 1);
	assert_int_equal(purge_figures().purged_bytes - before.purged_bytes, UNIT_BYTES);
	assert_int_equal(purge_figures().purge_count - before.purge_count, 1);
	assert_true(purge_range((void *)(range.start + 1), UNIT_BYTES) < 0);
	assert_int_equal(purge_figures().purge_count - before.purge_count, 1);
}

/* Much goes back in pieces: of 4 MiB, or more where that was quick. */
static void test_range_in_pieces(void **state UNUSED)
{
	struct span_range range;
	struct purge_figures before = purge_figures();

	lock_take(&space_lock);
	assert_true(span_take(9 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	lock_release(&space_lock);
	memset((void *)range.start, 1, 9 * MIB);
	assert_int_equal(purge_range((void *)range.start, 9 * MIB), 0);
	assert_in_range(purge_figures().purge_count - before.purge_count, 1, 3);
	assert_int_equal(purge_figures().purged_bytes - before.purged_bytes, 9 * MIB);
	for (size_t at = 0; at < 9 * MIB; at += 4096)
		assert_int_equal(((char *)range.start)[at], 0);
	lock_take(&space_lock);
	span_release(range.start, range.units, false);
	lock_release(&space_lock);
}

/* ---- Uncommitting ---- */

#define PIECE_BYTES (UNCOMMIT_UNITS * UNIT_BYTES)

static size_t uncommitted_bytes(void)
{
	return region_uncommitted_units() * UNIT_BYTES;
}

/* VmData: what RLIMIT_DATA limits. */
static size_t data_bytes(void)
{
	char line[256];
	size_t kib = 0;
	FILE *file = fopen("/proc/self/status", "r");

	MUST(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "VmData:", 7) == 0)
			kib = strtoul(line + 7, NULL, 10);
	fclose(file);
	return kib * KIB;
}

/* Of the region; sanitizers have some of their own. */
static size_t mapping_count(void)
{
	size_t count = 0;
	char line[4096];
	uintptr_t start;
	FILE *file = fopen("/proc/self/maps", "r");

	MUST(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		count += sscanf(line, "%" SCNxPTR, &start) == 1 && start - region_first.base < region_first.reserved_bytes;
	fclose(file);
	return count;
}

static struct span_range take(size_t bytes)
{
	struct span_range range;

	lock_take(&space_lock);
	MUST(span_take(bytes / UNIT_BYTES, UNIT_BYTES, &range));
	span_forget_dirty(range.start, range.units);
	lock_release(&space_lock);
	return range;
}

static void touch(struct span_range range)
{
	memset((void *)range.start, 0x6b, range.units * UNIT_BYTES);
}

static void release(struct span_range range)
{
	lock_take(&space_lock);
	span_release(range.start, range.units, true);
	lock_release(&space_lock);
}

static void must_be_valid(void)
{
	lock_take(&space_lock);
	MUST(span_is_valid());
	lock_release(&space_lock);
}

/* The charge goes with the memory, and comes with it; no mapping stays behind. */
static void test_uncommits(void **state UNUSED)
{
	configure(1024 * MIB, HOUR_MS);
	struct span_range range = take(64 * MIB), wall = take(UNIT_BYTES);
	touch(range);
	touch(wall);
	size_t mappings = mapping_count();
	size_t data = data_bytes();
	size_t uncommitted = uncommitted_bytes();

	release(range);
	assert_true(purge_all(0) >= 64 * MIB);
	assert_true(uncommitted_bytes() - uncommitted > 64 * MIB - 2 * PIECE_BYTES);
	assert_true(data - data_bytes() > 64 * MIB - 2 * PIECE_BYTES);
	assert_true(mapping_count() <= mappings + 4);
	assert_valid();

	size_t data_without = data_bytes();
	struct span_range again = take(64 * MIB);
	assert_int_equal(again.start, range.start);
	for (size_t at = 0; at < 64 * MIB; at += 4096)
		assert_int_equal(*(char *)(again.start + at), 0);
	touch(again);
	assert_true(data_bytes() - data_without > 64 * MIB - 2 * PIECE_BYTES);
	assert_true(mapping_count() <= mappings + 2);
	assert_valid();
	release(again);
	release(wall);
	purge_all(0);
}

/* What has decayed does by itself; what is above what may be retained only where what is committed is limited. */
static void test_uncommits_by_itself(void **state UNUSED)
{
	configure(MIB, HOUR_MS);
	/* The first tick is due at once. */
	make_dirty(1, 20);
	for (size_t i = 0; i < 100; i++)
		purge_tick();
	struct span_range range = take(32 * MIB);
	size_t uncommitted = uncommitted_bytes();
	touch(range);
	release(range);
	for (size_t i = 0; i < 100; i++)
		purge_tick();
	assert_in_range(dirty_bytes(), 1, 2 * MIB);
	assert_in_range(uncommitted_bytes(), 0, uncommitted);
	purge_set_uncommit(true);
	range = take(32 * MIB);
	/* That it was needed again is forgotten. */
	configure(MIB, HOUR_MS);
	uncommitted = uncommitted_bytes();
	touch(range);
	release(range);
	for (size_t i = 0; i < 100; i++)
		purge_tick();
	assert_true(uncommitted_bytes() > uncommitted + 24 * MIB);
	purge_set_uncommit(false);

	configure(1024 * MIB, 20);
	range = take(32 * MIB);
	uncommitted = uncommitted_bytes();
	touch(range);
	release(range);
	uint64_t start = os_now_ms();
	while (uncommitted_bytes() <= uncommitted + 24 * MIB) {
		assert_true(os_now_ms() - start < 120000);
		sleep_ms(1);
		purge_tick();
	}
	purge_all(0);
	assert_valid();
}

/* Its own mappings and limits are beside the program's. */
static void skip_under_valgrind(void)
{
	skip_where(MEMCHECK_BUILD, "valgrind's own mappings and limits are in the way");
}

enum { RUNS = 100, RUNS_MAX = 16, RUNS_MAX_LIMITED = 64 };

static size_t runs_now(void)
{
	size_t units = region_first.committed_bytes >> UNIT_LOG2;
	size_t runs = 0, length;

	for (size_t unit = 0; (unit = region_bits_run(region_first.uncommitted, unit, units, true, &length)) < units;
	     unit += length)
		runs++;
	return runs;
}

/* However memory is scattered, mappings are few. */
static void test_runs_are_bounded(void **state UNUSED)
{
	struct span_range ranges[RUNS], walls[RUNS];

	skip_under_valgrind();
	configure(1024 * MIB, HOUR_MS);
	for (size_t i = 0; i < RUNS; i++) {
		ranges[i] = take(2 * PIECE_BYTES);
		walls[i] = take(UNIT_BYTES);
		*(char *)ranges[i].start = 1;
	}
	size_t mappings = mapping_count();
	for (size_t i = 0; i < RUNS; i++)
		release(ranges[i]);
	purge_all(0);
	assert_int_equal(runs_now(), RUNS_MAX);
	assert_in_range(mapping_count(), mappings, mappings + 2 * RUNS_MAX);
	purge_set_uncommit(true);
	purge_all(0);
	assert_int_equal(runs_now(), RUNS_MAX_LIMITED);
	purge_set_uncommit(false);
	assert_valid();
	for (size_t i = 0; i < RUNS; i++)
		ranges[i] = take(2 * PIECE_BYTES);
	assert_in_range(runs_now(), 0, RUNS_MAX);
	for (size_t i = 0; i < RUNS; i++) {
		release(ranges[i]);
		release(walls[i]);
	}
	purge_all(0);
	assert_true(runs_now() <= 2);
	assert_valid();
}

enum { CHILD_ROUNDS = 8 };

#define CHILD_ROUND_BYTES (2 * RUNS_MAX * (2 * PIECE_BYTES + UNIT_BYTES))
#define CHILD_BYTES (CHILD_ROUNDS * CHILD_ROUND_BYTES)

/* In a child nothing merges: not each time that memory comes and goes, elsewhere each time, are there more mappings. */
static void child_churns(void *argument UNUSED)
{
	struct span_range ranges[RUNS_MAX], walls[RUNS_MAX];

	purge_fork_child();
	size_t mappings = mapping_count();
	for (size_t round = 0; round < CHILD_ROUNDS; round++) {
		size_t before = UNIT_BYTES + round * CHILD_ROUND_BYTES;
		struct span_range low = take(before);
		for (size_t i = 0; i < RUNS_MAX; i++) {
			ranges[i] = take(2 * PIECE_BYTES);
			walls[i] = take(UNIT_BYTES);
			*(char *)ranges[i].start = *(char *)walls[i].start = 1;
		}
		struct span_range high = take(CHILD_BYTES - before - CHILD_ROUND_BYTES / 2);
		for (size_t i = 0; i < RUNS_MAX; i++)
			release(ranges[i]);
		purge_all(0);
		must_be_valid();
		for (size_t i = 0; i < RUNS_MAX; i++)
			release(walls[i]);
		release(low);
		release(high);
	}
	MUST(mapping_count() <= mappings + 3 * RUNS_MAX);
}

static void test_child(void **state UNUSED)
{
	struct span_range range = take(CHILD_BYTES);

	/* History, in all of it. */
	*(char *)range.start = 1;
	release(range);
	skip_under_valgrind();
	ASSERT_EXITED(child_run(child_churns, NULL, NULL, 0));
	purge_all(0);
}

/* The kernel refuses to commit again: the span stays free, others serve, and it serves when the limit has gone. */
static void commit_is_refused(void *argument UNUSED)
{
	struct rlimit limit, none;
	struct span_range large = take(65 * MIB), wall = take(UNIT_BYTES), range;
	struct span_range small = { .start = large.start + 64 * MIB, .units = MIB / UNIT_BYTES };

	large.units -= small.units;
	lock_take(&space_lock);
	MUST(span_split());
	lock_release(&space_lock);
	*(char *)large.start = *(char *)wall.start = *(char *)small.start = 1;
	release(large);
	purge_all(0);
	release(small);
	MUST(getrlimit(RLIMIT_DATA, &none) == 0);
	limit = none;
	limit.rlim_cur = data_bytes();
	MUST(setrlimit(RLIMIT_DATA, &limit) == 0);
	size_t uncommitted = uncommitted_bytes();
	lock_take(&space_lock);
	MUST(!span_take(64 * MIB / UNIT_BYTES, UNIT_BYTES, &range));
	MUST(!span_take_at(large.start, 64 * MIB / UNIT_BYTES, &range));
	MUST(uncommitted_bytes() == uncommitted && span_is_valid());
	/* What is committed lies behind what isn't. */
	size_t had = 0;
	while (span_take(1, UNIT_BYTES, &range)) {
		*(char *)range.start = 1;
		had++;
	}
	MUST(had >= small.units && uncommitted_bytes() == uncommitted && span_is_valid());
	lock_release(&space_lock);
	MUST(setrlimit(RLIMIT_DATA, &none) == 0);
	range = take(48 * MIB);
	touch(range);
	MUST(uncommitted_bytes() < uncommitted);
	must_be_valid();
}

static void test_commit_is_refused(void **state UNUSED)
{
	SKIP_EMULATED("limits of address space are not set");
	skip_under_valgrind();
	ASSERT_EXITED(child_run(commit_is_refused, NULL, NULL, 0));
}

enum { NOT_HERE = 3 };

/* Between units in use, touched, and nothing else is free and committed. */
static struct span_range take_between(void)
{
	purge_all(0);
	struct span_range range = take(5 * PIECE_BYTES);

	touch(range);
	purge_all(0);
	return (struct span_range){ .start = range.start + PIECE_BYTES, .units = 3 * UNCOMMIT_UNITS };
}

/* The kernel refuses to uncommit: what was clean and committed stays so. */
static void use_after_refusal(struct span_range range)
{
	size_t uncommitted = uncommitted_bytes();

	release(range);
	purge_all(0);
	MUST(uncommitted_bytes() == uncommitted && dirty_bytes() == 0);
	must_be_valid();
	struct span_range again = take(range.units * UNIT_BYTES);
	MUST(again.start == range.start && *(char *)again.start == 0);
	touch(again);
}

static void uncommit_is_forbidden(void *argument UNUSED)
{
	struct span_range range = take_between();

	if (os_seal((void *)range.start, range.units * UNIT_BYTES) != 0)
		_exit(NOT_HERE);
	use_after_refusal(range);
}

static void mappings_run_out(void *argument UNUSED)
{
	struct span_range range = take_between();
	size_t made = 0;

	/* Neighbours that can't merge. */
	char *pages = mmap(NULL, 2000000 * (size_t)4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pages == MAP_FAILED)
		_exit(NOT_HERE);
	while (made < 1000000 && mprotect(pages + 8192 * made, 4096, PROT_READ) == 0)
		made++;
	if (made == 1000000)
		_exit(NOT_HERE);
	use_after_refusal(range);
}

static void memory_is_locked(void *argument UNUSED)
{
	struct span_range range = take_between();

	/* AddressSanitizer's mlock does nothing. */
	if (syscall(SYS_mlock, (void *)range.start, range.units * UNIT_BYTES) != 0)
		_exit(NOT_HERE);
	use_after_refusal(range);
}

static void run_or_skip(void (*body)(void *))
{
	int status = child_run(body, NULL, NULL, 0);

	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE) {
		print_message("# skipped: this kernel or tool does not refuse that way\n");
		skip();
	}
	ASSERT_EXITED(status);
}

static void test_uncommit_is_forbidden(void **state UNUSED)
{
	run_or_skip(uncommit_is_forbidden);
}

static void test_mappings_run_out(void **state UNUSED)
{
	skip_under_valgrind();
	run_or_skip(mappings_run_out);
}

static void test_memory_is_locked(void **state UNUSED)
{
	SKIP_EMULATED("advice for locked memory is not heard");
	run_or_skip(memory_is_locked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_dirty),
		/* Before any other tick: the next one is due after what the decay was then. */
		cmocka_unit_test(test_decay),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_counts_what_was_there),
		cmocka_unit_test(test_keeps),
		cmocka_unit_test(test_retain),
		cmocka_unit_test(test_retained_max),
		cmocka_unit_test(test_credit_follows_density),
		cmocka_unit_test(test_before_release),
		cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_huge_pieces),
		cmocka_unit_test(test_no_decay_is_at_once),
		cmocka_unit_test(test_use_stops_decay),
		cmocka_unit_test(test_uncommits),
		cmocka_unit_test(test_uncommits_by_itself),
		cmocka_unit_test(test_runs_are_bounded),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_commit_is_refused),
		cmocka_unit_test(test_uncommit_is_forbidden),
		cmocka_unit_test(test_mappings_run_out),
		cmocka_unit_test(test_memory_is_locked),
		/* Last: the kernel's refusal is remembered for a while. */
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_range_in_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

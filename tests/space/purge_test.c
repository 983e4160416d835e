/* Giving free spans' memory back: how much, when, and whether it says the truth. */
#include "model/support.h"

#include <time.h>

#include "os/os.h"
#include "space/purge.h"
#include "space/region.h"
#include "space/span.h"

#define HOUR_MS 3600000

/* Without what tests before this one have taught. */
static void configure(uint64_t retain_bytes, uint64_t decay_ms)
{
	lock_take(&space_lock);
	for (int i = 0; i < 64; i++)
		span_forget_given_back();
	lock_release(&space_lock);
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
		assert_int_equal(*(char *)(region_first.base + at), 0);
}

/* What is dirty but was not touched counts as what it is: not there. */
static void test_counts_what_was_there(void **state UNUSED)
{
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

static void sleep_ms(long milliseconds)
{
	struct timespec pause = { .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000 };

	nanosleep(&pause, NULL);
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
	assert_non_null(span_find_dirty(true));
	assert_true(span_take(20, UNIT_BYTES, &range));
	span_forget_dirty(range.start, 20);
	span_release(range.start, 20, true);
	assert_null(span_find_dirty(true));
	assert_non_null(span_find_dirty(false));
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
		cmocka_unit_test(test_no_decay_is_at_once),
		cmocka_unit_test(test_use_stops_decay),
		cmocka_unit_test(test_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

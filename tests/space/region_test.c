/* Regions: the bit maps against a naive model for every range, growing, and what a look-up answers. */
#include "model/support.h"

#include <sys/resource.h>

#include "os/os.h"
#include "space/meta.h"
#include "space/region.h"
#include "space/span.h"

/* ---- Bits ---- */

#define BIT_COUNT ((size_t)192)

/* Every range of three words, over several patterns, one byte per bit beside it. */
static uint64_t bits[BIT_COUNT / 64];
static bool naive[BIT_COUNT];

static void draw(struct random *random, unsigned density)
{
	memset(bits, 0, sizeof(bits));
	for (size_t i = 0; i < BIT_COUNT; i++) {
		naive[i] = random_below(random, 16) < density;
		if (naive[i])
			bits[i / 64] |= (uint64_t)1 << i % 64;
	}
}

static void assert_same(void)
{
	for (size_t i = 0; i < BIT_COUNT; i++)
		if ((bits[i / 64] >> i % 64 & 1) != naive[i])
			fail_msg("bit %zu is %d", i, !naive[i]);
}

static void check_range(size_t first, size_t end)
{
	size_t count = 0;
	size_t length;

	for (size_t i = first; i < end; i++)
		count += naive[i];
	assert_int_equal(region_bits_count(bits, first, end - first), count);
	for (int value = 0; value <= 1; value++) {
		size_t start = first;
		while (start < end && naive[start] != value)
			start++;
		size_t stop = start;
		while (stop < end && naive[stop] == value)
			stop++;
		assert_int_equal(region_bits_run(bits, first, end, value, &length), start);
		assert_int_equal(length, stop - start);
	}
}

static void test_bits_are_read(void **state UNUSED)
{
	static const unsigned densities[] = { 0, 1, 8, 15, 16 };
	struct random random = random_start(3);

	for (size_t d = 0; d < sizeof(densities) / sizeof(densities[0]); d++) {
		draw(&random, densities[d]);
		for (size_t first = 0; first <= BIT_COUNT; first++)
			for (size_t end = first; end <= BIT_COUNT; end++)
				check_range(first, end);
	}
}

static void test_bits_are_written(void **state UNUSED)
{
	struct random random = random_start(4);

	for (size_t first = 0; first <= BIT_COUNT; first++)
		for (size_t end = first; end <= BIT_COUNT; end++) {
			draw(&random, 8);
			region_bits_set(bits, first, end - first);
			for (size_t i = first; i < end; i++)
				naive[i] = true;
			assert_same();
			draw(&random, 8);
			region_bits_clear(bits, first, end - first);
			for (size_t i = first; i < end; i++)
				naive[i] = false;
			assert_same();
		}
}

/* ---- Growing ---- */

static bool grow(size_t units, struct region **region, uintptr_t *start, size_t *new_units)
{
	lock_take(&space_lock);
	bool grown = region_grow(units, region, start, new_units);
	lock_release(&space_lock);
	return grown;
}

static void check_region(const struct region *region)
{
	uintptr_t end = region->reservation + region->reservation_bytes;

	assert_true(IS_ALIGNED(region->base, UNIT_BYTES) && IS_ALIGNED(region->reserved_bytes, UNIT_BYTES));
	assert_true(region->base > region->reservation && region->base + region->reserved_bytes <= end);
	assert_ptr_equal(region_of((void *)region->base), region);
	assert_ptr_equal(region_of((void *)(region->base + region->reserved_bytes - 1)), region);
	assert_ptr_not_equal(region_of((void *)(region->base - 1)), region);
	assert_ptr_not_equal(region_of((void *)(region->base + region->reserved_bytes)), region);
	/* Any unit of the committed part, and any address at all, may be looked up. */
	for (size_t at = 0; at < region->committed_bytes; at += UNIT_BYTES)
		assert_ptr_equal(span_of((void *)(region->base + at + at / 7 % UNIT_BYTES)), &span_nobody);
	assert_ptr_equal(span_of((void *)(region->base + region->committed_bytes)), &span_nobody);
	assert_ptr_equal(span_of((void *)(region->base + region->reserved_bytes - 1)), &span_nobody);
}

static void test_growing(void **state UNUSED)
{
	static const size_t wanted[] = { 1, 1, 3, 17, 100, 1, 700, 5, 3000, 1, 1 };
	uintptr_t expected = 0;

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct region *region;
		uintptr_t start;
		size_t units;

		assert_true(grow(wanted[i], &region, &start, &units));
		assert_true(units >= wanted[i]);
		assert_true(i == 0 || region != &region_first || start == expected);
		expected = start + units * UNIT_BYTES;
		assert_int_equal(region->base + region->committed_bytes, expected);
		/* All of it is there, zero, and clean. */
		for (size_t unit = 0; unit < units; unit++) {
			uint64_t *words = (uint64_t *)(start + unit * UNIT_BYTES);
			assert_int_equal(words[0], 0);
			assert_int_equal(words[UNIT_BYTES / 8 - 1], 0);
			words[1] = unit;
		}
		assert_int_equal(region_bits_count(region->dirty, region_unit(region, start), units), 0);
		assert_int_equal(region_bits_count(region->aged, region_unit(region, start), units), 0);
		check_region(region);
	}
}

static void test_nobody_elses(void **state UNUSED)
{
	int here = 0;

	assert_null(region_of(&here));
	assert_null(region_of(NULL));
	assert_null(region_of((void *)UINTPTR_MAX));
	assert_ptr_equal(span_of(&here), &span_nobody);
	assert_ptr_equal(span_of(NULL), &span_nobody);
	assert_ptr_equal(span_of((void *)UINTPTR_MAX), &span_nobody);
}

static void test_impossible_sizes(void **state UNUSED)
{
	struct region *region;
	uintptr_t start;
	size_t units;

	assert_false(grow(SIZE_MAX, &region, &start, &units));
	assert_false(grow(SIZE_MAX / UNIT_BYTES, &region, &start, &units));
	assert_false(grow((size_t)PTRDIFF_MAX / UNIT_BYTES, &region, &start, &units));
	assert_false(grow((size_t)1 << 45, &region, &start, &units));
	assert_true(grow(1, &region, &start, &units));
}

static void test_page_map(void **state UNUSED)
{
	static struct span span ALIGNED(64);
	struct region *region;
	uintptr_t start;
	size_t units;

	assert_true(grow(8, &region, &start, &units));
	lock_take(&space_lock);
	page_map_set(start + 2 * UNIT_BYTES, 3, &span);
	lock_release(&space_lock);
	for (size_t unit = 0; unit < 8; unit++) {
		struct span *expected = unit >= 2 && unit < 5 ? &span : &span_nobody;
		assert_ptr_equal(span_of((void *)(start + unit * UNIT_BYTES)), expected);
		assert_ptr_equal(span_of((void *)(start + unit * UNIT_BYTES + UNIT_BYTES - 1)), expected);
	}
	lock_take(&space_lock);
	page_map_set(start + 2 * UNIT_BYTES, 3, &span_nobody);
	lock_release(&space_lock);
}

/* ---- Little address space ---- */

enum { NO_ADDRESS_SPACE = 3 };

/* Regions are small and several; when no more can be had the answer is no, not a crash. */
static void use_up_address_space(void *argument UNUSED)
{
	struct rlimit limit = { .rlim_cur = 512 * MIB, .rlim_max = 512 * MIB };
	struct region *region;
	uintptr_t start;
	size_t units;
	size_t total = 0;

	MUST(setrlimit(RLIMIT_AS, &limit) == 0);
	if (os_reserve(64 * MIB) == NULL)
		_exit(NO_ADDRESS_SPACE);
	while (grow(64, &region, &start, &units)) {
		MUST(region_of((void *)start) == region && units >= 64);
		*(char *)start = 1;
		total += units * UNIT_BYTES;
		MUST(total < 512 * MIB);
	}
	MUST(region_count() > 1);
	MUST(total > 192 * MIB);
	for (size_t i = 0; i < region_count(); i++) {
		MUST(region_of((void *)region_at(i)->base) == region_at(i));
		MUST(region_at(i)->committed_bytes <= region_at(i)->reserved_bytes);
	}
	/* A block as large as what is free, and less. */
	MUST(!grow((size_t)1 << 20, &region, &start, &units));
}

static void test_little_address_space(void **state UNUSED)
{
	SKIP_EMULATED("limits of address space are not set");
	int status = child_run(use_up_address_space, NULL, NULL, 0);

	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_ADDRESS_SPACE) {
		print_message("# skipped: the process takes more address space than the limit already\n");
		skip();
	}
	ASSERT_EXITED(status);
}

int main(void)
{
	/* First, while there is no region: its children start from nothing. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_little_address_space),
		cmocka_unit_test(test_bits_are_read),
		cmocka_unit_test(test_bits_are_written),
		cmocka_unit_test(test_nobody_elses),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_impossible_sizes),
		cmocka_unit_test(test_page_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

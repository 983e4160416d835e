/* realloc between all kinds of sizes: what is kept, what stays in place, what failure leaves. */
#include "model/support.h"

#include <errno.h>

#include "block/sizeclass.h"
#include "quarry/quarry.h"

static void fill(unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at++)
		block[at] = (unsigned char)(at * 7 + at / 251);
}

static void assert_filled(const unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at++)
		if (block[at] != (unsigned char)(at * 7 + at / 251))
			fail_msg("byte %zu of %zu changed", at, bytes);
}

static const size_t sizes[] = { 1, 16, 17, 100, 1000, 1025, 4160, 16449, 32832, 32833, 65536, 100000, 262144, 300000, 600000,
	                        2000000 };

#define SIZE_COUNT (sizeof(sizes) / sizeof(sizes[0]))

static void test_every_pair(void **state UNUSED)
{
	for (size_t from = 0; from < SIZE_COUNT; from++)
		for (size_t to = 0; to < SIZE_COUNT; to++) {
			unsigned char *block = quarry_malloc(sizes[from]);
			size_t usable = quarry_usable_size(block);
			fill(block, usable);
			errno = 4711;
			block = quarry_realloc(block, sizes[to]);
			assert_non_null(block);
			assert_int_equal(errno, 4711);
			assert_true(quarry_usable_size(block) >= sizes[to]);
			assert_filled(block, min_size(usable, sizes[to]));
			memset(block, 0, quarry_usable_size(block));
			quarry_free(block);
		}
}

/* A block that grows by a little, again and again. */
static void test_growing(void **state UNUSED)
{
	unsigned char *block = NULL;
	void *walls[64] = { NULL };
	size_t size = 1;

	for (size_t i = 0; size < 3 * MIB; i++) {
		size_t more = size + size / 3 + 1;
		block = quarry_realloc(block, more);
		assert_non_null(block);
		if (i > 0)
			assert_filled(block, size);
		size = more;
		fill(block, size);
		quarry_free(walls[i % 64]);
		walls[i % 64] = quarry_malloc(i * 5000);
	}
	while (size > 10) {
		size = size * 2 / 3;
		block = quarry_realloc(block, size);
		assert_filled(block, size);
	}
	quarry_free(block);
	for (size_t i = 0; i < 64; i++)
		quarry_free(walls[i]);
}

static void test_in_place(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT; i++) {
		void *block = quarry_malloc(sizes[i]);
		uintptr_t before = (uintptr_t)block;
		size_t usable = quarry_usable_size(block);
		/* What was promised as usable costs no move, nor does a little less. */
		block = quarry_realloc(block, usable);
		assert_int_equal((uintptr_t)block, before);
		assert_int_equal(quarry_usable_size(block), usable);
		block = quarry_realloc(block, usable - usable / 10);
		assert_int_equal((uintptr_t)block, before);
		assert_int_equal(quarry_usable_size(block), usable);
		quarry_free(block);
	}
	/* Much less gives memory back. */
	void *block = quarry_malloc(3 * MIB);
	block = quarry_realloc(block, 100000);
	assert_true(quarry_usable_size(block) < 200000);
	block = quarry_realloc(block, 100);
	assert_int_equal(quarry_usable_size(block), quarry_good_size(100));
	quarry_free(block);
}

static int count_block(void *block UNUSED, size_t size UNUSED, void *count)
{
	++*(size_t *)count;
	return 0;
}

static size_t live_count(void)
{
	size_t count = 0;

	quarry_walk(count_block, &count);
	return count;
}

static void test_special_cases(void **state UNUSED)
{
	size_t before = live_count();
	void *block = quarry_realloc(NULL, 100);

	assert_int_equal(live_count(), before + 1);
	assert_null(quarry_realloc(block, 0));
	assert_int_equal(live_count(), before);
	block = quarry_realloc(NULL, 0);
	assert_non_null(block);
	assert_null(quarry_reallocarray(block, 10, 0));
	block = quarry_reallocarray(NULL, 300, 1000);
	assert_true(quarry_usable_size(block) >= 300000);
	assert_null(quarry_realloc(block, 0));
	assert_int_equal(live_count(), before);
}

static void test_failure_changes_nothing(void **state UNUSED)
{
	static const size_t impossible[] = { SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX - 65536, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,
		                             (size_t)1 << 60 };

	for (size_t i = 0; i < SIZE_COUNT; i++) {
		unsigned char *block = quarry_malloc(sizes[i]);
		size_t usable = quarry_usable_size(block);
		fill(block, usable);
		for (size_t k = 0; k < sizeof(impossible) / sizeof(impossible[0]); k++) {
			errno = 0;
			assert_null(quarry_realloc(block, hide(impossible[k])));
			assert_int_equal(errno, ENOMEM);
		}
		errno = 0;
		assert_null(quarry_reallocarray(block, hide((size_t)1 << 33), hide((size_t)1 << 31)));
		assert_int_equal(errno, ENOMEM);
		assert_int_equal(quarry_usable_size(block), usable);
		assert_filled(block, usable);
		quarry_free(block);
	}
}

static void test_good_size(void **state UNUSED)
{
	for (size_t size = 0; size < 200000; size += 1 + size / 100) {
		void *block = quarry_malloc(size);
		assert_int_equal(quarry_good_size(size), quarry_usable_size(block));
		quarry_free(block);
	}
	assert_int_equal(quarry_good_size((size_t)PTRDIFF_MAX + 1), 0);
	assert_int_equal(quarry_good_size(SIZE_MAX), 0);
	assert_int_equal(quarry_usable_size(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pair),
		cmocka_unit_test(test_growing),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_special_cases),
		cmocka_unit_test(test_failure_changes_nothing),
		cmocka_unit_test(test_good_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

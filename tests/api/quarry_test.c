/* The public header's words: what each of its functions says about itself. */
#include "model/support.h"

#include <errno.h>

#include "quarry/quarry.h"
#include "space/space.h"

static void test_version(void **state UNUSED)
{
	char expected[32];

	snprintf(expected, sizeof(expected), "%d.%d.%d", QUARRY_VERSION_MAJOR, QUARRY_VERSION_MINOR, QUARRY_VERSION_PATCH);
	assert_string_equal(quarry_version(), expected);
}

static void test_wrong_sizes_do_no_harm(void **state UNUSED)
{
	void *block = quarry_malloc(100);

	quarry_free_sized(block, 1000000);
	assert_ptr_equal(quarry_malloc(100), block);
	quarry_free_aligned_sized(block, 4096, 0);
	assert_ptr_equal(quarry_malloc(100), block);
	quarry_free(block);
	quarry_free_sized(NULL, 5);
	quarry_free_aligned_sized(NULL, 5, 5);
}

static void test_describe(void **state UNUSED)
{
	int here = 0;
	char *small = quarry_malloc(100);
	char *large = quarry_malloc(500000);
	struct quarry_description what = quarry_describe(small + 50);

	assert_true(what.kind == QUARRY_LIVE && what.block == small && what.size == 112 && what.offset == 50 && !what.large);
	what = quarry_describe(large + 499999);
	assert_true(what.kind == QUARRY_LIVE && what.block == large && what.offset == 499999 && what.large);
	assert_int_equal(quarry_describe(&here).kind, QUARRY_FOREIGN);
	assert_int_equal(quarry_describe(NULL).kind, QUARRY_FOREIGN);
	assert_int_equal(quarry_describe(span_of(small)).kind, QUARRY_METADATA);
	struct span *slab = span_of(small);
	void *fresh = (void *)(slab->base + (slab->end_index - 1u) * slab->block_bytes);
	what = quarry_describe(fresh);
	assert_true(what.kind == QUARRY_FREE && what.fresh && what.block == fresh);
	quarry_free(small);
	what = quarry_describe(small + 3);
	assert_true(what.kind == QUARRY_FREE && what.block == small && what.size == 112 && what.offset == 3 && !what.fresh);
	quarry_free(large);
	what = quarry_describe(large);
	assert_true(what.kind == QUARRY_UNUSED && what.block == NULL && what.size == 0 && !what.large);
}

struct seen {
	void *blocks[8];
	size_t count;
};

/* Frees each block it is shown and makes another: both are allowed. */
static int replace(void *block, size_t size, void *context)
{
	struct seen *seen = context;

	MUST(seen->count < 8 && size >= 64);
	seen->blocks[seen->count++] = quarry_malloc(size);
	quarry_free(block);
	return 0;
}

static void test_walk_may_change(void **state UNUSED)
{
	struct seen seen = { .count = 0 };

	for (size_t i = 0; i < 3; i++)
		assert_non_null(quarry_malloc(i == 2 ? 100000 : 64 + i));
	assert_int_equal(quarry_walk(replace, &seen), 0);
	assert_true(seen.count >= 3);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(stats.live_blocks, 3);
}

static void test_stats_refuses(void **state UNUSED)
{
	struct quarry_stats stats = { .struct_bytes = 0 };

	errno = 0;
	assert_int_equal(quarry_stats(&stats), -1);
	assert_int_equal(errno, EINVAL);
	stats.struct_bytes = sizeof(stats) + 1;
	errno = 0;
	assert_int_equal(quarry_stats(&stats), -1);
	assert_int_equal(errno, EINVAL);
	/* An older caller's: nothing behind it is written. */
	stats.struct_bytes = offsetof(struct quarry_stats, live_large_bytes);
	stats.live_large_bytes = 4711;
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(stats.live_large_bytes, 4711);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_wrong_sizes_do_no_harm),
		cmocka_unit_test(test_describe),
		cmocka_unit_test(test_walk_may_change),
		cmocka_unit_test(test_stats_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

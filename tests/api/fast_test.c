/* The fast paths: they serve what the magazine holds, and everything else goes the slow way with every check. */
#include "model/support.h"

#include <errno.h>

#include "api/fast.h"
#include "quarry/quarry.h"
#include "thread/magazine.h"

static struct magazine *magazine_of(unsigned class_index)
{
	return thread_magazine((uintptr_t)class_index << MAGAZINE_LOG2);
}

/* LIFO, by the magazine alone, for every size. */
static void test_last_freed_is_next(void **state UNUSED)
{
	for (size_t size = 1; size <= SMALL_BYTES_MAX; size += 1 + size / 50) {
		void *first = quarry_malloc(size);
		void *second = quarry_malloc(size);
		struct magazine *magazine = magazine_of(size_class_of(size));

		struct span *span = span_of(first);
		assert_int_equal(span->class_index, size_class_of(size));
		quarry_free(first);
		assert_ptr_equal(magazine->top->block, first);
		assert_int_equal(ledger_get(magazine->top->state), LEDGER_CACHED);
		struct entry *top = magazine->top;
		quarry_free(second);
		assert_ptr_equal(magazine->top, top + 1);
		/* Compilers take it that a new block is at no old one's address. */
		void *third = (void *)hide((size_t)quarry_malloc(size));
		void *fourth = (void *)hide((size_t)quarry_malloc(size));
		assert_int_equal(hide((size_t)second), (size_t)third);
		assert_int_equal(hide((size_t)first), (size_t)fourth);
		assert_int_equal(ledger_get((top)->state), LEDGER_LIVE);
		quarry_free(third);
		quarry_free(fourth);
	}
}

static void test_size_zero(void **state UNUSED)
{
	void *first = quarry_malloc(0);
	void *second = quarry_malloc(0);

	assert_non_null(first);
	assert_ptr_not_equal(first, second);
	assert_int_equal(quarry_usable_size(first), 16);
	quarry_free(first);
	quarry_free(second);
	quarry_free(NULL);
}

static void test_limits(void **state UNUSED)
{
	void *small = quarry_malloc(SMALL_BYTES_MAX);
	void *large = quarry_malloc(SMALL_BYTES_MAX + 1);

	assert_int_equal(span_of(small)->kind, SPAN_SLAB);
	assert_int_equal(span_of(large)->kind, SPAN_LARGE);
	quarry_free(small);
	quarry_free(large);
	errno = 0;
	assert_null(quarry_malloc(hide(SIZE_MAX)));
	assert_int_equal(errno, ENOMEM);
}

static void test_errno_is_left_alone(void **state UNUSED)
{
	static void *blocks[3000];

	errno = 4711;
	for (size_t i = 0; i < 3000; i++)
		blocks[i] = quarry_malloc(i * 20);
	for (size_t i = 0; i < 3000; i++)
		quarry_free(blocks[i]);
	assert_int_equal(errno, 4711);
}

/* ---- What is no live block's start is reported, also by the fast path ---- */

static void *small_block;
static void *large_block;

static void free_twice(void *block) { quarry_free(block); quarry_free(block); }
static void free_inside(void *block) { quarry_free((char *)block + 16); }
static void free_unaligned(void *block) { quarry_free((char *)block + 1); }
static void usable_of_freed(void *block) { quarry_free(block); quarry_usable_size(block); }
static void resize_freed(void *block) { quarry_free(block); (void)!quarry_realloc(block, 10); }
static void free_metadata(void *block) { quarry_free(span_of(block)); }
static void free_reserved(void *block UNUSED) { quarry_free((void *)(region_first.base + region_first.reserved_bytes - 64)); }
static void free_edge(void *block) { quarry_free((void *)(span_of(block)->start + span_of(block)->units * UNIT_BYTES - 1)); }
static void free_never_used(void *block)
{
	struct span *slab = span_of(block);
	quarry_free((void *)(slab->base + (slab->end_index - 1u) * slab->block_bytes));
}

static void test_reports(void **state UNUSED)
{
	static const struct {
		void (*act)(void *block);
		bool large;
		const char *words;
	} cases[] = {
		{ free_twice, false, "quarry_free(" },
		{ free_twice, false, "double free" },
		{ free_twice, true, "freed memory" },
		{ free_inside, false, "inside of a block" },
		{ free_inside, true, "inside of a block" },
		{ free_unaligned, false, "inside of a block" },
		{ usable_of_freed, false, "quarry_usable_size(" },
		{ usable_of_freed, true, "freed memory" },
		{ resize_freed, false, "quarry_realloc(" },
		{ resize_freed, true, "quarry_realloc(" },
		{ free_metadata, false, "metadata" },
		{ free_metadata, true, "metadata" },
		{ free_reserved, false, "never handed out" },
		{ free_edge, false, "no block" },
		{ free_never_used, false, "never handed out" },
	};
	char said[2048];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		small_block = quarry_malloc(200);
		large_block = quarry_malloc(200000);
		int status = child_run(cases[i].act, cases[i].large ? large_block : small_block, said, sizeof(said));
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
			fail_msg("case %zu ended with wait status %#x: %s", i, (unsigned)status, said);
		if (strncmp(said, "quarry: ", 8) != 0 || strstr(said, cases[i].words) == NULL)
			fail_msg("case %zu says: %s", i, said);
		quarry_free(small_block);
		quarry_free(large_block);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_freed_is_next),
		cmocka_unit_test(test_size_zero),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_errno_is_left_alone),
		cmocka_unit_test(test_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

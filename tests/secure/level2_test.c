/* Security level 2 through the public functions. */
#include "secure/levels.h"

/* What goes back is zero when it comes again, whatever was written to it: keep all. */
const char quarry_options[] = "secure=2,on_error=warn,report=/dev/null,decay_ms=3600000,retain=1G";

/* First: nothing leaves a quarantine that isn't full. */
static void test_quarantine(void **state UNUSED)
{
	void *stale[500];

	for (size_t i = 0; i < 500; i++)
		stale[i] = quarry_malloc(40);
	for (size_t i = 0; i < 500; i++)
		quarry_free(stale[i]);
	for (size_t i = 0; i < 2000; i++) {
		void *block = quarry_malloc(40);
		for (size_t j = 0; j < 500; j++)
			assert_ptr_not_equal(block, stale[j]);
	}
	/* What waits is freed, not live. */
	quarry_free(stale[3]);
	expect(1, "double-free");
	/* So many blocks wait that some must leave. */
	size_t back = 0;
	for (size_t i = 0; i < 20000; i++) {
		void *block = quarry_malloc(40);
		for (size_t j = 0; j < 500; j++)
			back += block == stale[j];
		quarry_free(block);
	}
	assert_true(back > 0);
}

static void test_said(void **state UNUSED)
{
	quarry_free_sized(quarry_malloc(100), 99);
	expect(1, "wrong-size");
	quarry_free_sized(quarry_malloc(100000), 100001);
	expect(1, "wrong-size");
	quarry_free_sized(quarry_realloc(quarry_malloc(100), 101), 101);
	quarry_free_sized(quarry_malloc(0), 0);
	quarry_free_aligned_sized(quarry_memalign(64, 100), 64, 100);
	expect(0, "");
	quarry_free_aligned_sized((char *)quarry_memalign(4096, 100), 4096, 101);
	expect(1, "wrong-size");
	/* By one block in four: the others are aligned by chance. */
	size_t wrong = 0;
	for (size_t i = 0; i < 200; i++) {
		void *block = quarry_malloc(40);
		wrong += !IS_ALIGNED((uintptr_t)block, 64);
		quarry_free_aligned_sized(block, 64, 40);
	}
	assert_true(wrong > 0);
	expect(wrong, "wrong-alignment");
}

static void test_large_hidden(void **state UNUSED)
{
	if (secure.guard_bytes == 0) {
		print_message("# skipped: this kernel has no guard markers\n");
		skip();
	}
	char *blocks[10];
	for (size_t i = 0; i < 10; i++) {
		blocks[i] = quarry_malloc(200000);
		blocks[i][5] = 1;
	}
	assert_true(is_accessible(blocks[3] + 199999));
	for (size_t i = 0; i < 10; i++)
		quarry_free(blocks[i]);
	for (size_t i = 0; i < 10; i++)
		for (size_t at = 0; at < 200000; at += 4096)
			assert_false(is_accessible(blocks[i] + at));
	quarry_free(blocks[3]);
	expect(1, "double-free");
	/* They leave when there are too many, and serve again. */
	for (size_t i = 0; i < 300; i++) {
		char *block = quarry_calloc(1, 200000);
		for (size_t at = 0; at < 200000; at += 512)
			assert_int_equal(block[at], 0);
		memset(block, 1, 200000);
		quarry_free(block);
	}
	quarry_trim(0);
	expect(0, "");
}

/* An underflow into the slack of the block in front, behind its canary. */
static void test_rest(void **state UNUSED)
{
	unsigned char *volatile block = quarry_malloc(60);

	block[79] = 1;
	quarry_free(block);
	expect(1, "overflow");
}

static void test_guarded_both_sides(void **state UNUSED)
{
	size_t page = os_page_bytes();
	char *large = quarry_malloc(MIB);

	assert_int_equal(sealed.options.foreign, OPTION_foreign_abort);
	if (secure.guard_bytes == 0)
		return;
	assert_false(is_accessible((char *)ROUND_DOWN((uintptr_t)large, page) - 1));
	assert_false(is_accessible((char *)ROUND_UP((uintptr_t)large + MIB + 8, page)));
	quarry_free(large);
}

/* The settings can't be written to once the program runs: constructors have sealed them. */
static void test_sealed(void **state UNUSED)
{
	pid_t child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile bool *)&secure.on = false;
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quarantine),
		COMMON_TESTS,
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_large_hidden),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_guarded_both_sides),
		cmocka_unit_test(test_sealed),
	};

	if (MEMCHECK_BUILD)
		return without_levels();
	quarry_set_report_handler(note, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Security level 1 through the public functions. */
#include "secure/levels.h"

/* What goes back is zero when it comes again, whatever was written to it: keep all. */
const char quarry_options[] = "secure=1,on_error=warn,report=/dev/null,decay_ms=3600000,retain=1G";

static void test_not_yet(void **state UNUSED)
{
	quarry_free_sized(quarry_malloc(100), 99);
	quarry_free_aligned_sized(quarry_malloc(100), 64, 100);
	expect(0, "");
	void *large = quarry_malloc(300000);
	quarry_free(large);
	assert_true(is_accessible(large) || emulator() != NULL);
	assert_int_equal(sealed.options.foreign, OPTION_foreign_forward);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		COMMON_TESTS,
		cmocka_unit_test(test_not_yet),
	};

	if (MEMCHECK_BUILD)
		return without_levels();
	quarry_set_report_handler(note, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The one exit: what it writes, how it ends, and which checks lead to it. */
#include "model/support.h"

#include "base/check.h"

static char said[1024];

static void die_here(void *argument)
{
	die(argument, "some/file.c", 4711);
}

static void fail_check(void *argument UNUSED)
{
	volatile int two = 2;

	CHECK(two + two == 5);
}

static void fail_debug_check(void *argument UNUSED)
{
	volatile int two = 2;

	DCHECK(two + two == 5);
}

static void assert_aborted(int status)
{
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void test_message(void **state UNUSED)
{
	assert_aborted(child_run(die_here, "the sky fell", said, sizeof(said)));
	assert_string_equal(said, "quarry: fatal: the sky fell, at some/file.c:4711. This is a bug in Quarry, or its own "
	                          "memory was overwritten.\n");
}

/* A text that doesn't fit is cut, never written beyond its buffer. */
static void test_long_message(void **state UNUSED)
{
	char what[2000];

	memset(what, 'x', sizeof(what) - 1);
	what[sizeof(what) - 1] = 0;
	assert_aborted(child_run(die_here, what, said, sizeof(said)));
	assert_memory_equal(said, "quarry: fatal: xxx", 18);
	assert_int_equal(strlen(said), 511);
}

static void test_check(void **state UNUSED)
{
	assert_aborted(child_run(fail_check, NULL, said, sizeof(said)));
	assert_memory_equal(said, "quarry: fatal: check failed: two + two == 5, at ", 48);
	assert_non_null(strstr(said, "check_test.c:"));
	CHECK(said[0] == 'q');
}

static void test_debug_check(void **state UNUSED)
{
	int status = child_run(fail_debug_check, NULL, said, sizeof(said));

#ifdef QUARRY_DEBUG
	assert_aborted(status);
	assert_non_null(strstr(said, "check failed: two + two == 5"));
#else
	ASSERT_EXITED(status);
	assert_string_equal(said, "");
#endif
}

/* Outside of debug builds the condition is not even evaluated. */
static void test_debug_check_costs_nothing(void **state UNUSED)
{
	int evaluated = 0;

	DCHECK(++evaluated > 0);
#ifdef QUARRY_DEBUG
	assert_int_equal(evaluated, 1);
#else
	assert_int_equal(evaluated, 0);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_long_message),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_debug_check),
		cmocka_unit_test(test_debug_check_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

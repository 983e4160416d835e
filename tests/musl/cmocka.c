/* cmocka's functions as far as the unit tests use them, for a C library that Debian has no cmocka for: compiled with that
 * library and cmocka's own header. TAP alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RUNS, FAILED = 1, SKIPPED = 2 };

static jmp_buf test_end;
static int in_test;

static void end(int how)
{
	if (!in_test)
		exit(255);
	longjmp(test_end, how);
}

void print_message(const char *const format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
}

void print_error(const char *const format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fflush(stdout);
}

void _fail(const char *const file, const int line)
{
	print_message("# %s:%d: failed\n", file, line);
	end(FAILED);
}

void _skip(const char *const file, const int line)
{
	(void)file, (void)line;
	end(SKIPPED);
}

static void must(int holds, const char *what, unsigned long a, unsigned long b, const char *file, int line)
{
	if (holds)
		return;
	print_message("# %s: %#lx, %#lx\n", what, a, b);
	_fail(file, line);
}

void _assert_true(const LargestIntegralType result, const char *const expression, const char *const file, const int line)
{
	must(result != 0, expression, result, 1, file, line);
}

void _assert_int_equal(const LargestIntegralType a, const LargestIntegralType b, const char *const file, const int line)
{
	must(a == b, "equal", a, b, file, line);
}

void _assert_int_not_equal(const LargestIntegralType a, const LargestIntegralType b, const char *const file, const int line)
{
	must(a != b, "not equal", a, b, file, line);
}

void _assert_string_equal(const char *const a, const char *const b, const char *const file, const int line)
{
	if (strcmp(a, b) == 0)
		return;
	print_message("# \"%s\" is not \"%s\"\n", a, b);
	_fail(file, line);
}

void _assert_string_not_equal(const char *const a, const char *const b, const char *file, const int line)
{
	must(strcmp(a, b) != 0, a, 0, 0, file, line);
}

void _assert_memory_equal(const void *const a, const void *const b, const size_t size, const char *const file, const int line)
{
	must(memcmp(a, b, size) == 0, "memory", (unsigned long)a, (unsigned long)b, file, line);
}

void _assert_memory_not_equal(const void *const a, const void *const b, const size_t size, const char *const file, const int line)
{
	must(memcmp(a, b, size) != 0, "other memory", (unsigned long)a, (unsigned long)b, file, line);
}

void _assert_in_range(const LargestIntegralType value, const LargestIntegralType minimum, const LargestIntegralType maximum,
                      const char *const file, const int line)
{
	must(value >= minimum && value <= maximum, "in range", value, minimum, file, line);
}

static int run(const struct CMUnitTest *test, size_t number)
{
	void *state = test->initial_state;
	volatile int how = RUNS;

	in_test = 1;
	how = setjmp(test_end);
	if (how == RUNS) {
		if (test->setup_func != NULL && test->setup_func(&state) != 0)
			_fail("setup", 0);
		test->test_func(&state);
	}
	in_test = 0;
	if (test->teardown_func != NULL && test->teardown_func(&state) != 0)
		how = FAILED;
	print_message("%sok %zu %s%s\n", how == RUNS ? "" : "not ", number, how == SKIPPED ? "# SKIP " : "- ", test->name);
	return how == FAILED;
}

int _cmocka_run_group_tests(const char *group_name, const struct CMUnitTest *const tests, const size_t num_tests,
                            CMFixtureFunction group_setup, CMFixtureFunction group_teardown)
{
	void *state = NULL;
	int failed = 0;

	print_message("1..%zu\n", num_tests);
	if (group_setup != NULL && group_setup(&state) != 0) {
		print_message("Bail out! %s: no setup\n", group_name);
		return 255;
	}
	for (size_t i = 0; i < num_tests; i++)
		failed += run(&tests[i], i + 1);
	if (group_teardown != NULL && group_teardown(&state) != 0)
		failed++;
	return failed;
}

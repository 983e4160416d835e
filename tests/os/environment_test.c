/* What the process was started with: against the C library's answers. */
#include "model/support.h"

#include <sys/auxv.h>
#include <sys/resource.h>
#include <time.h>

#include "os/os.h"

static void test_variables(void **state UNUSED)
{
	/* Not the program's start: the list is walked, and names are whole. */
	setenv("QUARRY_TEST_NAME", "a value=with more", 1);
	setenv("QUARRY_TEST_EMPTY", "", 1);
	assert_string_equal(os_environment("QUARRY_TEST_NAME"), "a value=with more");
	assert_string_equal(os_environment("QUARRY_TEST_EMPTY"), "");
	assert_null(os_environment("QUARRY_TEST_NAM"));
	assert_null(os_environment("QUARRY_TEST_NAMES"));
	assert_null(os_environment("QUARRY_TEST_NAME=a"));
	unsetenv("QUARRY_TEST_NAME");
	assert_null(os_environment("QUARRY_TEST_NAME"));
	if (getenv("PATH") != NULL)
		assert_string_equal(os_environment("PATH"), getenv("PATH"));
}

extern void *__libc_stack_end __attribute__((weak));

/* Before the C library has set `environ` the initial stack is read: the same list. */
static void test_before_the_c_library(void **state UNUSED)
{
	char **saved = environ;

	if (getenv("PATH") == NULL) {
		print_message("# skipped: no PATH in the environment\n");
		skip();
	}
	if (&__libc_stack_end == NULL) {
		print_message("# skipped: this C library sets environ before all else\n");
		skip();
	}
	char *expected = strdup(getenv("PATH"));
	environ = NULL;
	const char *path = os_environment("PATH");
	const char *nothing = os_environment("QUARRY_TEST_NO_SUCH_NAME");
	environ = saved;
	assert_non_null(path);
	assert_string_equal(path, expected);
	assert_null(nothing);
	free(expected);
}

static void test_not_secure(void **state UNUSED)
{
	assert_int_equal(os_is_secure(), getauxval(AT_SECURE) != 0);
}

static void test_memory(void **state UNUSED)
{
	uint64_t expected = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t bytes = os_memory_bytes();

	assert_true(bytes >= expected / 2 && bytes <= expected * 2);
}

static void limit_and_look(void *argument UNUSED)
{
	struct rlimit limit = { .rlim_cur = (rlim_t)1 << 46, .rlim_max = (rlim_t)1 << 46 };

	MUST(setrlimit(RLIMIT_AS, &limit) == 0);
	MUST(os_address_space_limit() == (uint64_t)1 << 46);
}

static void test_limit(void **state UNUSED)
{
	SKIP_EMULATED("limits of address space are not set");
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
	assert_true(os_address_space_limit() == (limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur));
	ASSERT_EXITED(child_run(limit_and_look, NULL, NULL, 0));
}

static void test_clock(void **state UNUSED)
{
	struct timespec before, after;
	uint64_t last = os_now_ms();

	clock_gettime(CLOCK_MONOTONIC_COARSE, &before);
	uint64_t now = os_now_ms();
	clock_gettime(CLOCK_MONOTONIC_COARSE, &after);
	assert_true(now >= last);
	assert_true(now >= (uint64_t)before.tv_sec * 1000 + (uint64_t)before.tv_nsec / 1000000);
	assert_true(now <= (uint64_t)after.tv_sec * 1000 + (uint64_t)after.tv_nsec / 1000000);
	for (size_t i = 0; i < 10000; i++, last = now) {
		now = os_now_ms();
		assert_true(now >= last);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_before_the_c_library),
		cmocka_unit_test(test_not_secure),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

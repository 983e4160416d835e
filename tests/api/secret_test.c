/* Memory for secrets: guards, what is around it, what a child and a core dump see, and limits. */
#include "model/support.h"

#include <errno.h>
#include <sys/resource.h>

#include "api/secret.h"
#include "base/compiler.h"
#include "os/os.h"
#include "quarry/quarry.h"

const char quarry_options[] = "on_error=warn,report=/dev/null";

static char reported[64];

static void note(const struct quarry_report *report, void *context UNUSED)
{
	snprintf(reported, sizeof(reported), "%s", report->kind);
}

/* The kernel reads for us: no fault. */
static bool is_accessible(const void *address)
{
	char byte;

	return os_copy(&byte, (uintptr_t)address, 1) == 1;
}

/* Of the mapping that holds the address. */
static void flags_of(const void *address, char *flags, size_t bytes)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false;

	flags[0] = 0;
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		uintptr_t start, end;
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = (uintptr_t)address - start < end - start;
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, bytes, "%s", line);
	}
	fclose(file);
}

static void test_sizes(void **state UNUSED)
{
	size_t page = os_page_bytes();
	const size_t sizes[] = { 0, 1, 15, 16, 100, page - 1, page, page + 1, 3 * page };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned char *block = quarry_secure_alloc(sizes[i]);
		assert_non_null(block);
		assert_true(IS_ALIGNED((uintptr_t)block, 16));
		for (size_t at = 0; at < sizes[i]; at++)
			assert_int_equal(block[at], 0);
		memset(block, 0xff, sizes[i]);
		unsigned char *end = (unsigned char *)ROUND_UP((uintptr_t)block + max_size(sizes[i], 1), page);
		assert_in_range(end - (block + sizes[i]), 0, 16);
		assert_false(is_accessible(end));
		assert_false(is_accessible((char *)ROUND_DOWN((uintptr_t)block, page) - 1));
		assert_true(secret_is(block) && !secret_is(block + 1));
		quarry_secure_free(block);
		assert_false(is_accessible(block));
		assert_false(secret_is(block));
	}
	quarry_secure_free(NULL);
}

static void test_flags(void **state UNUSED)
{
	SKIP_EMULATED("advice is not passed on");
	char flags[512];
	void *block = quarry_secure_alloc(100);

	flags_of(block, flags, sizeof(flags));
	assert_non_null(strstr(flags, " lo"));
	assert_non_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " wf"));
	quarry_secure_free(block);
}

static void test_child(void **state UNUSED)
{
	SKIP_EMULATED("advice is not passed on");
	char *block = quarry_secure_alloc(100);

	strcpy(block, "secret");
	pid_t child = fork();
	if (child == 0) {
		for (size_t i = 0; i < 100; i++)
			MUST(((volatile char *)block)[i] == 0);
		reported[0] = 0;
		quarry_secure_free(block);
		MUST(reported[0] == 0);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_string_equal(block, "secret");
	quarry_secure_free(block);
}

static void expect_report(const char *kind)
{
	assert_string_equal(reported, kind);
	reported[0] = 0;
}

/* The compiler doesn't know how large it is. */
static volatile char *secret_of_unknown_size(void)
{
	return (volatile char *)hide((size_t)quarry_secure_alloc(100));
}

static void test_mistakes(void **state UNUSED)
{
	quarry_set_report_handler(note, NULL);
	reported[0] = 0;
	volatile char *block = secret_of_unknown_size();
	block[hide(100)] = 1;
	quarry_secure_free((void *)block);
	expect_report("overflow");
	block = secret_of_unknown_size();
	block[(ptrdiff_t)hide((size_t)-1)] = 1;
	quarry_secure_free((void *)block);
	expect_report("underflow");
	block = secret_of_unknown_size();
	quarry_secure_free((void *)block);
	expect_report("");
	quarry_secure_free((void *)block);
	expect_report("foreign-pointer");
	block = secret_of_unknown_size();
	quarry_secure_free((char *)block + 16);
	expect_report("foreign-pointer");
	quarry_free((void *)block);
	expect_report("foreign-pointer");
	quarry_secure_free((void *)block);
	expect_report("");
}

static void test_limits(void **state UNUSED)
{
	static void *blocks[SECRETS_MAX];
	struct rlimit none = { 0, 0 };

	errno = 0;
	assert_null(quarry_secure_alloc(hide((size_t)PTRDIFF_MAX + 1)));
	assert_int_equal(errno, ENOMEM);
	size_t count = 0;
	while (count < SECRETS_MAX && (blocks[count] = quarry_secure_alloc(1)) != NULL)
		count++;
	errno = 0;
	assert_null(quarry_secure_alloc(1));
	assert_true(errno == ENOMEM || errno == EAGAIN || errno == EPERM);
	for (size_t i = 0; i < count; i++)
		quarry_secure_free(blocks[i]);
	pid_t child = fork();
	if (child == 0) {
		/* Root may lock what it wants. */
		MUST(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
		if (geteuid() == 0)
			MUST(setresuid(65534, 65534, 65534) == 0);
		errno = 0;
		MUST(quarry_secure_alloc(1) == NULL && (errno == EPERM || errno == ENOMEM || errno == EAGAIN));
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_child),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Configuration files: which are read, what a section is for, and complaints with file and line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/config.h"

static struct options options;
static char said[8192];

static unsigned parse_bytes(const char *text, size_t length, const char *program)
{
	struct text complaints = text_over(said, sizeof(said));
	const struct config_file file = { "/some/quarry.conf", OPTION_FROM_USER_FILE };

	options_reset(&options);
	return config_parse(&options, text, length, program, &file, &complaints);
}

static unsigned parse(const char *text, const char *program)
{
	return parse_bytes(text, strlen(text), program);
}

/* Whether a section of these patterns is for the program. */
static bool is_for(const char *patterns, const char *program)
{
	char text[512];

	snprintf(text, sizeof(text), "[%s]\ndecay_ms=7\n", patterns);
	assert_int_equal(parse(text, program), 0);
	return options.decay_ms == 7;
}

static void test_programs(void **state UNUSED)
{
	static const struct {
		const char *patterns;
		const char *program;
		bool matches;
	} rows[] = {
		{ "redis-server", "/usr/bin/redis-server", true },
		{ "redis-server", "redis-server", true },
		{ "redis", "/usr/bin/redis-server", false },
		{ "server", "/usr/bin/redis-server", false },
		{ "redis-server", "/usr/bin/redis-server-6", false },
		{ "bin", "/usr/bin/redis", false },
		{ "*", "/usr/bin/redis-server", true },
		{ "*", "", false },
		{ "redis*", "/usr/bin/redis-server", true },
		{ "*server", "/usr/bin/redis-server", true },
		{ "*s*s*r", "/usr/bin/redis-server", true },
		{ "*s*s*x", "/usr/bin/redis-server", false },
		{ "r?dis-server", "/usr/bin/redis-server", true },
		{ "redis-server?", "/usr/bin/redis-server", false },
		{ "?*", "/usr/bin/r", true },
		{ "a*ab", "/aab", true },
		{ "a*ab", "/aaab", true },
		{ "a*ab", "/ab", false },
		{ "/usr/bin/redis-server", "/usr/bin/redis-server", true },
		{ "/bin/redis-server", "/usr/bin/redis-server", false },
		{ "/usr/*", "/usr/bin/redis-server", true },
		{ "usr/*", "/usr/bin/redis-server", false },
		{ "*/bin/*", "/usr/bin/redis-server", true },
		{ "perl redis-server", "/usr/bin/redis-server", true },
		{ "  perl   python3  ", "/usr/bin/python3", true },
		{ "perl python3", "/usr/bin/ruby", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (is_for(rows[i].patterns, rows[i].program) != rows[i].matches)
			fail_msg("[%s] is %sfor %s", rows[i].patterns, rows[i].matches ? "not " : "", rows[i].program);
}

static void test_sections(void **state UNUSED)
{
	static const char text[] = "# all\n"
	                           "decay_ms=1\n"
	                           "\n"
	                           " retain = 1M , stats\r\n"
	                           "[perl]\n"
	                           "decay_ms=2\n"
	                           "  # not for perl: decay_ms=9\n"
	                           "[python3]\n"
	                           "decay_ms=3,thp=always\n"
	                           "report=/var/log/a b#c\n"
	                           "[p*]\n"
	                           "\tretain=2M";

	assert_int_equal(parse(text, "/usr/bin/ruby"), 0);
	assert_true(options.decay_ms == 1 && options.retain == MIB && options.stats && options.thp == OPTION_thp_default);
	assert_int_equal(parse(text, "/usr/bin/perl"), 0);
	assert_true(options.decay_ms == 2 && options.retain == 2 * MIB && options.thp == OPTION_thp_default);
	assert_int_equal(parse(text, "/usr/bin/python3"), 0);
	assert_true(options.decay_ms == 3 && options.retain == 2 * MIB && options.thp == OPTION_thp_always);
	assert_string_equal(options.report, "/var/log/a b#c");
	assert_string_equal(said, "");
	/* A value's source is the file's. */
	char confirmed[8192];
	struct text all = text_over(confirmed, sizeof(confirmed));
	options_confirm_text(&options, &all);
	assert_non_null(strstr(confirmed, "quarry: decay_ms=3 (quarry.conf)\n"));
	assert_non_null(strstr(confirmed, "quarry: retain_percent=25 (default)\n"));
}

static void refused(const char *text, const char *complaint)
{
	assert_int_equal(parse(text, "/usr/bin/perl"), 1);
	assert_string_equal(said, complaint);
}

static void test_complaints(void **state UNUSED)
{
	refused("\n\ndecay_ms=fast\n", "quarry: /some/quarry.conf:3: decay_ms=fast: not a number; allowed: 0 to 3600000\n");
	refused("[perl\nstats\n", "quarry: /some/quarry.conf:1: [perl: not a section; allowed: [PROGRAM], or several with "
	                          "blanks between\n");
	/* What follows it is for nobody. */
	assert_false(options.stats);
	refused("[]\n", "quarry: /some/quarry.conf:1: []: not a section; allowed: [PROGRAM], or several with blanks between\n");
	refused("[ ]\n", "quarry: /some/quarry.conf:1: [ ]: not a section; allowed: [PROGRAM], or several with blanks between\n");
	refused("[", "quarry: /some/quarry.conf:1: [: not a section; allowed: [PROGRAM], or several with blanks between\n");
	assert_int_equal(parse("[python3]\ndecay_ms=fast\n", "/usr/bin/perl"), 0);
	assert_int_equal(parse("speed=1\n\033[2Jx=1\nstats=off\n", ""), 2);
	assert_non_null(strstr(said, "quarry: /some/quarry.conf:1: speed=1: no such option; allowed: foreign, "));
	assert_non_null(strstr(said, "quarry: /some/quarry.conf:2: ?[2Jx=1: no such option; allowed: "));
	assert_int_equal(parse_bytes("stats\0x\n", 8, ""), 1);
	assert_int_equal(parse("", ""), 0);
}

/* Any bytes, without a 0 behind them. */
static void test_any_bytes(void **state UNUSED)
{
	static const char alphabet[] = "[]*?/,=#\n \t\rab";
	uint64_t seed = 1;

	for (size_t round = 0; round < 20000; round++) {
		size_t length = round % 40;
		char *text = malloc(length + 1);
		for (size_t i = 0; i < length; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			text[i] = alphabet[(seed >> 33) % (sizeof(alphabet) - 1)];
		}
		char *exact = realloc(text, length > 0 ? length : 1);
		parse_bytes(exact, length, "/a/b");
		free(exact);
	}
}

static void expect_files(struct config_environment environment, const char *second, enum option_source source)
{
	struct config_file files[2];
	char buffer[64];
	size_t count = config_files(&environment, files, buffer, sizeof(buffer));

	assert_string_equal(files[0].path, "/etc/quarry.conf");
	assert_int_equal(files[0].source, OPTION_FROM_SYSTEM_FILE);
	assert_int_equal(count, second != NULL ? 2 : 1);
	if (second == NULL)
		return;
	assert_string_equal(files[1].path, second);
	assert_int_equal(files[1].source, source);
}

static void test_files(void **state UNUSED)
{
	char long_home[100] = "/";

	memset(long_home + 1, 'h', sizeof(long_home) - 2);
	expect_files((struct config_environment){ .home = "/home/a" }, "/home/a/.config/quarry.conf", OPTION_FROM_USER_FILE);
	expect_files((struct config_environment){ .home = "/home/a", .configuration = "/c" }, "/c/quarry.conf",
	             OPTION_FROM_USER_FILE);
	expect_files((struct config_environment){ .home = "/home/a", .configuration = "c" }, "/home/a/.config/quarry.conf",
	             OPTION_FROM_USER_FILE);
	expect_files((struct config_environment){ .home = "/home/a", .named = "x" }, "x", OPTION_FROM_NAMED_FILE);
	expect_files((struct config_environment){ .home = "/home/a", .named = "" }, NULL, 0);
	expect_files((struct config_environment){ .home = "/home/a", .named = "x", .secure = true }, NULL, 0);
	expect_files((struct config_environment){ .home = "a" }, NULL, 0);
	expect_files((struct config_environment){ .home = long_home }, NULL, 0);
	expect_files((struct config_environment){ .named = NULL }, NULL, 0);
}

static void expect_unread(enum option_source source, int error, const char *complaint)
{
	struct text complaints = text_over(said, sizeof(said));
	const struct config_file file = { "f", source };

	assert_int_equal(config_unread(&file, error, &complaints), *complaint != 0);
	assert_string_equal(said, complaint);
}

static void test_unread(void **state UNUSED)
{
	expect_unread(OPTION_FROM_SYSTEM_FILE, ENOENT, "");
	expect_unread(OPTION_FROM_USER_FILE, EACCES, "");
	expect_unread(OPTION_FROM_USER_FILE, EISDIR, "quarry: f: can't be read (error 21)\n");
	expect_unread(OPTION_FROM_NAMED_FILE, ENOENT, "quarry: f: can't be read (error 2)\n");
	expect_unread(OPTION_FROM_USER_FILE, EFBIG, "quarry: f: too large; allowed: 65536 bytes\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs), cmocka_unit_test(test_sections), cmocka_unit_test(test_complaints),
		cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_files), cmocka_unit_test(test_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

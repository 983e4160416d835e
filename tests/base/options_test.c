/* The options' parser: what it accepts, what it refuses in which words, and that no bytes upset it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/options.h"

/* ---- A parse with its complaints ---- */

struct parse {
	struct options options;
	struct text complaints;
	char buffer[4096];
	unsigned count;
};

static struct parse *parse_of(const char *string)
{
	static struct parse parse;

	options_reset(&parse.options);
	parse.complaints = text_over(parse.buffer, sizeof(parse.buffer));
	parse.count = options_parse(&parse.options, string, OPTION_FROM_ENVIRONMENT, &parse.complaints);
	return &parse;
}

static const struct options *accepted(const char *string)
{
	struct parse *parse = parse_of(string);

	assert_string_equal(parse->buffer, "");
	assert_int_equal(parse->count, 0);
	return &parse->options;
}

/* Exactly one complaint, in these words, and nothing changed. */
static void refused(const char *string, const char *complaint)
{
	struct options defaults;
	struct parse *parse = parse_of(string);

	assert_string_equal(parse->buffer, complaint);
	assert_int_equal(parse->count, 1);
	options_reset(&defaults);
	assert_memory_equal(&parse->options, &defaults, sizeof(defaults));
}

static size_t row_index(const char *name)
{
	for (size_t i = 0; i < options_row_count(); i++)
		if (strcmp(options_row(i)->name, name) == 0)
			return i;
	fail_msg("no row %s", name);
	return 0;
}

/* ---- The table ---- */

static void test_defaults(void **state UNUSED)
{
	struct options options;

	memset(&options, 0xa5, sizeof(options));
	options_reset(&options);
	assert_int_equal(options.foreign, OPTION_foreign_forward);
	assert_int_equal(options.deepbind, OPTION_deepbind_mask);
	assert_int_equal(options.decay_ms, 1000);
	assert_int_equal(options.retain, 16 * MIB);
	assert_int_equal(options.retain_percent, 25);
	assert_int_equal(options.retain_max, 1024 * GIB);
	assert_int_equal(options.limit, 0);
	assert_true(options.scavenger);
	assert_true(options.pressure);
	assert_int_equal(options.thp, OPTION_thp_default);
	assert_false(options.stats);
	assert_false(options.confirm);
	assert_false(options.help);
	for (size_t i = 0; i < sizeof(options.source); i++)
		assert_int_equal(options.source[i], OPTION_FROM_DEFAULT);
}

static void test_rows_are_whole(void **state UNUSED)
{
	assert_true(options_row_count() > 0);
	assert_null(options_row(options_row_count()));
	assert_null(options_row(SIZE_MAX));
	for (size_t i = 0; i < options_row_count(); i++) {
		const struct option_row *row = options_row(i);
		bool ranged = row->type == OPTION_TYPE_SIZE || row->type == OPTION_TYPE_COUNT || row->type == OPTION_TYPE_RANGE;

		assert_true(strlen(row->name) > 0 && strlen(row->help) > 0);
		assert_int_equal(row->choices != NULL, row->type == OPTION_TYPE_CHOICE || row->type == OPTION_TYPE_STRING);
		assert_true(strlen(row->default_text) > 0 || row->type == OPTION_TYPE_STRING);
		assert_int_equal(row->minimum_text != NULL, ranged);
		assert_int_equal(row->maximum_text != NULL, ranged);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(row->name, options_row(j)->name);
	}
}

/* Default, minimum, maximum and each choice of every row: the parser reads them, and what it then says is the same. */
static void round_trip(const struct option_row *row, const char *value)
{
	char item[128];
	char said[128];
	struct text text = text_over(said, sizeof(said));

	snprintf(item, sizeof(item), "%s=%s", row->name, value);
	options_value_text(accepted(item), row, &text);
	assert_string_equal(said, value);
}

static void test_every_value_round_trips(void **state UNUSED)
{
	for (size_t i = 0; i < options_row_count(); i++) {
		const struct option_row *row = options_row(i);

		round_trip(row, row->default_text);
		if (row->type == OPTION_TYPE_RANGE) {
			char whole[64];
			snprintf(whole, sizeof(whole), "%s-%s", row->minimum_text, row->maximum_text);
			round_trip(row, whole);
		} else if (row->minimum_text != NULL) {
			round_trip(row, row->minimum_text);
			round_trip(row, row->maximum_text);
		}
		if (row->type == OPTION_TYPE_FLAG) {
			round_trip(row, "on");
			round_trip(row, "off");
		}
		char *choices = row->choices == NULL ? NULL : strdup(row->choices);
		char *rest = choices;
		for (char *choice; (choice = strsep(&rest, "|")) != NULL;)
			round_trip(row, choice);
		free(choices);
	}
}

/* ---- Accepted ---- */

static void test_values(void **state UNUSED)
{
	assert_int_equal(accepted("foreign=forward")->foreign, OPTION_foreign_forward);
	assert_int_equal(accepted("foreign=ignore")->foreign, OPTION_foreign_ignore);
	assert_int_equal(accepted("foreign=abort")->foreign, OPTION_foreign_abort);
	assert_int_equal(accepted("deepbind=keep")->deepbind, OPTION_deepbind_keep);
	assert_int_equal(accepted("decay_ms=0")->decay_ms, 0);
	assert_int_equal(accepted("decay_ms=3600000")->decay_ms, 3600000);
	assert_int_equal(accepted("decay_ms=0000012")->decay_ms, 12);
	assert_int_equal(accepted("retain=4097")->retain, 4097);
	assert_int_equal(accepted("retain=3K")->retain, 3 * KIB);
	assert_int_equal(accepted("retain=5M")->retain, 5 * MIB);
	assert_int_equal(accepted("retain=7G")->retain, 7 * GIB);
	assert_int_equal(accepted("retain=1T")->retain, 1024 * GIB);
	assert_int_equal(accepted("retain_percent=0")->retain_percent, 0);
	assert_int_equal(accepted("retain_percent=1000")->retain_percent, 1000);
	assert_int_equal(accepted("retain_max=0")->retain_max, 0);
	assert_int_equal(accepted("retain_max=96M")->retain_max, 96 * MIB);
	assert_int_equal(accepted("limit=96M")->limit, 96 * MIB);
	/* Keys that begin alike don't meet. */
	assert_int_equal(accepted("retain_max=1M,retain_percent=3")->retain, 16 * MIB);
	assert_false(accepted("scavenger=off")->scavenger);
	assert_true(accepted("scavenger=off,scavenger")->scavenger);
	assert_false(accepted("pressure=off")->pressure);
	assert_int_equal(accepted("thp=default")->thp, OPTION_thp_default);
	assert_int_equal(accepted("thp=never")->thp, OPTION_thp_never);
	assert_int_equal(accepted("thp=system")->thp, OPTION_thp_system);
	assert_int_equal(accepted("thp=always")->thp, OPTION_thp_always);
	assert_true(accepted("stats=on")->stats);
	assert_false(accepted("stats,stats=off")->stats);
	assert_true(accepted("stats")->stats);
}

static void test_many_items(void **state UNUSED)
{
	const struct options *options = accepted(",,decay_ms=5,,stats,retain=1K,foreign=abort,");

	assert_int_equal(options->decay_ms, 5);
	assert_int_equal(options->retain, KIB);
	assert_int_equal(options->foreign, OPTION_foreign_abort);
	assert_true(options->stats);
	accepted("");
	accepted(",");
	accepted(NULL);
}

static void test_last_wins(void **state UNUSED)
{
	assert_int_equal(accepted("decay_ms=5,decay_ms=7,decay_ms=6")->decay_ms, 6);
	/* What is refused doesn't undo what was accepted. */
	struct parse *parse = parse_of("decay_ms=5,decay_ms=x");
	assert_int_equal(parse->count, 1);
	assert_int_equal(parse->options.decay_ms, 5);
	parse = parse_of("decay_ms=x,decay_ms=5");
	assert_int_equal(parse->count, 1);
	assert_int_equal(parse->options.decay_ms, 5);
}

static void test_sources(void **state UNUSED)
{
	char buffer[512];
	struct options options;
	struct text text = text_over(buffer, sizeof(buffer));

	options_reset(&options);
	assert_int_equal(options_parse(&options, "decay_ms=1,retain=1,stats=maybe", OPTION_FROM_PROGRAM, &text), 1);
	assert_string_equal(buffer, "quarry: quarry_options: stats=maybe: neither on nor off; allowed: on|off\n");
	assert_int_equal(options_parse(&options, "decay_ms=2", OPTION_FROM_ENVIRONMENT, &text), 0);
	assert_int_equal(options.decay_ms, 2);
	assert_int_equal(options.retain, 1);
	assert_int_equal(options.source[row_index("decay_ms")], OPTION_FROM_ENVIRONMENT);
	assert_int_equal(options.source[row_index("retain")], OPTION_FROM_PROGRAM);
	assert_int_equal(options.source[row_index("stats")], OPTION_FROM_DEFAULT);
}

/* ---- Refused ---- */

static void test_bad_numbers(void **state UNUSED)
{
#define DECAY(value, fault) \
	refused("decay_ms" value, "quarry: QUARRY_OPTIONS: decay_ms" value ": " fault "; allowed: 0 to 3600000\n")
	DECAY("=fast", "not a number");
	DECAY("=", "not a number");
	DECAY("", "needs a value");
	DECAY("=-1", "not a number");
	DECAY("=+1", "not a number");
	DECAY("= 1", "not a number");
	DECAY("=1 ", "not a number");
	DECAY("=0x10", "not a number");
	DECAY("=1K", "not a number");
	DECAY("=1:", "not a number");                   /* next to 9, and next to 0 */
	DECAY("=1/", "not a number");
	DECAY("=1=2", "not a number");
	DECAY("=3600001", "out of range");
	DECAY("=18446744073709551616", "out of range");
	DECAY("=18446744073709551626", "out of range");
	DECAY("=999999999999999999999999999999999", "out of range");
	DECAY("=99999999999999999999x", "not a number");
}

static void test_bad_sizes(void **state UNUSED)
{
#define RETAIN(value, fault) \
	refused("retain=" value, "quarry: QUARRY_OPTIONS: retain=" value ": " fault \
	        "; allowed: 0 to 1T (bytes, or with suffix K, M, G, T)\n")
	RETAIN("", "not a size");
	RETAIN("K", "not a size");
	RETAIN("1k", "not a size");
	RETAIN("1KB", "not a size");
	RETAIN("1KK", "not a size");
	RETAIN("1P", "not a size");
	RETAIN("1.5M", "not a size");
	RETAIN("2T", "out of range");
	RETAIN("1025G", "out of range");
	RETAIN("16777216T", "out of range");            /* 2^64: would be 0 if it wrapped */
	RETAIN("16777217T", "out of range");
	RETAIN("18446744073709551615K", "out of range");
	refused("retain_max=2T", "quarry: QUARRY_OPTIONS: retain_max=2T: out of range; allowed: 0 to 1T "
	                         "(bytes, or with suffix K, M, G, T)\n");
	refused("retain_percent=1001", "quarry: QUARRY_OPTIONS: retain_percent=1001: out of range; allowed: 0 to 1000\n");
	refused("retain_percent=10%", "quarry: QUARRY_OPTIONS: retain_percent=10%: not a number; allowed: 0 to 1000\n");
	refused("scavenger=0", "quarry: QUARRY_OPTIONS: scavenger=0: neither on nor off; allowed: on|off\n");
}

static void test_bad_words(void **state UNUSED)
{
#define FOREIGN(value) \
	refused("foreign=" value, "quarry: QUARRY_OPTIONS: foreign=" value \
	        ": not one of the choices; allowed: forward|ignore|abort\n")
	FOREIGN("");
	FOREIGN("for");
	FOREIGN("forwards");
	FOREIGN("Forward");
	FOREIGN("|");
	FOREIGN("forward|ignore");
	FOREIGN("0");
	refused("foreign", "quarry: QUARRY_OPTIONS: foreign: needs a value; allowed: forward|ignore|abort\n");
	refused("stats=", "quarry: QUARRY_OPTIONS: stats=: neither on nor off; allowed: on|off\n");
	refused("stats=1", "quarry: QUARRY_OPTIONS: stats=1: neither on nor off; allowed: on|off\n");
	refused("stats=onn", "quarry: QUARRY_OPTIONS: stats=onn: neither on nor off; allowed: on|off\n");
}

static void test_unknown_keys(void **state UNUSED)
{
	static const char *const keys[] = { "nonsense", "nonsense=1", "decay_m=1", "decay_ms2=1", "STATS", "=1", "=",
		                            " stats", "stats ", "decay_ms;retain" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char start[128];

		snprintf(start, sizeof(start), "quarry: QUARRY_OPTIONS: %s: no such option; allowed: foreign, deepbind, ", keys[i]);
		struct parse *parse = parse_of(keys[i]);
		assert_int_equal(parse->count, 1);
		assert_memory_equal(parse->buffer, start, strlen(start));
		for (size_t row = 0; row < options_row_count(); row++)
			assert_non_null(strstr(parse->buffer, options_row(row)->name));
		assert_int_equal(parse->buffer[parse->complaints.length - 1], '\n');
	}
}

static void test_each_fault_is_one_line(void **state UNUSED)
{
	struct parse *parse = parse_of("a,decay_ms=9,b=1,stats=2,retain=8");
	unsigned lines = 0;

	for (const char *c = parse->buffer; *c != 0; c++)
		lines += *c == '\n';
	assert_int_equal(parse->count, 3);
	assert_int_equal(lines, 3);
	assert_int_equal(parse->options.decay_ms, 9);
	assert_int_equal(parse->options.retain, 8);
}

static void test_hostile_text_is_shown_harmless(void **state UNUSED)
{
	char item[5000];
	struct parse *parse = parse_of("stats=\033[2J\n\x9bQ\x7f");

	assert_string_equal(parse->buffer, "quarry: QUARRY_OPTIONS: stats=?[2J??Q?: neither on nor off; allowed: on|off\n");
	memset(item, 'x', sizeof(item));
	memcpy(item, "foreign=", 8);
	item[sizeof(item) - 1] = 0;
	parse = parse_of(item);
	assert_int_equal(parse->count, 1);
	assert_non_null(strstr(parse->buffer, "xxx...: not one of the choices; allowed: forward|ignore|abort\n"));
	assert_true(parse->complaints.length < 200);
}

static void test_complaints_without_room_are_still_counted(void **state UNUSED)
{
	char buffer[8] = "untouch";
	struct options options;
	struct text none = text_over(buffer, 0);
	struct text little = text_over(buffer + 1, 5);

	options_reset(&options);
	assert_int_equal(options_parse(&options, "a,b,c", OPTION_FROM_ENVIRONMENT, &none), 3);
	assert_int_equal(buffer[0], 'u');
	assert_int_equal(options_parse(&options, "a,b,c", OPTION_FROM_ENVIRONMENT, &little), 3);
	assert_memory_equal(buffer, "uquar\0h", 8);
	assert_int_equal(none.length, little.length);
}

/* Random items over an alphabet that hits the grammar often: no crash (the sanitizers watch), every value stays within
 * its range, and parsing what was read gives the same options. */
static void test_random_strings(void **state UNUSED)
{
	static const char *const words[] = { "decay_ms", "retain", "foreign", "stats", "help", "=", "=", "=", ",", ",", "on",
		                             "off", "abort", "1", "0", "9", "7", "K", "T", "G", "|", "\xff", "\n", "x" };
	uint64_t random = 88172645463325252u;

	for (unsigned round = 0; round < 20000; round++) {
		char string[256] = "";
		for (unsigned i = 0; i < 12; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			strcat(string, words[random % (sizeof(words) / sizeof(words[0]))]);
		}
		struct parse *parse = parse_of(string);
		struct options first = parse->options;

		assert_true(first.decay_ms <= 3600000 && first.retain <= 1024 * GIB && first.foreign <= OPTION_foreign_abort);
		char again[2048];
		struct text text = text_over(again, sizeof(again));
		for (size_t i = 0; i < options_row_count(); i++) {
			text_format(&text, "%s=", options_row(i)->name);
			options_value_text(&first, options_row(i), &text);
			text_char(&text, ',');
		}
		memset(&first.source, 0, sizeof(first.source));
		parse = parse_of(again);
		memset(&parse->options.source, 0, sizeof(first.source));
		assert_int_equal(parse->count, 0);
		assert_memory_equal(&parse->options, &first, sizeof(first));
	}
}

/* ---- Words ---- */

static void test_help(void **state UNUSED)
{
	char buffer[12288];
	struct text text = text_over(buffer, sizeof(buffer));
	size_t row = 0;

	options_help_text(&text);
	assert_true(text.length < sizeof(buffer));
	char *rest = buffer;
	for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL; row++) {
		assert_memory_equal(line, options_row(row)->name, strlen(options_row(row)->name));
		assert_non_null(strstr(line, options_row(row)->help));
		assert_non_null(strstr(line, options_row(row)->default_text));
	}
	assert_int_equal(row, options_row_count());
}

static void test_help_names_what_is_allowed(void **state UNUSED)
{
	char buffer[12288];
	struct text text = text_over(buffer, sizeof(buffer));

	options_help_text(&text);
	assert_non_null(strstr(buffer, "foreign (forward|ignore|abort, default forward): What free"));
	assert_non_null(strstr(buffer, "\ndecay_ms (0 to 3600000, default 1000): "));
	assert_non_null(strstr(buffer, "\nretain (0 to 1T (bytes, or with suffix K, M, G, T), default 16M): "));
	assert_non_null(strstr(buffer, "\nretain_percent (0 to 1000, default 25): "));
	assert_non_null(strstr(buffer, "\nretain_max (0 to 1T (bytes, or with suffix K, M, G, T), default 1T): "));
	assert_non_null(strstr(buffer, "\nscavenger (on|off, default on): "));
	assert_non_null(strstr(buffer, "\nstats (on|off, default off): "));
}

static void test_ranges(void **state UNUSED)
{
	const struct options *options = accepted("guard_sizes=16-4K");

	assert_int_equal(options->guard_sizes.minimum, 16);
	assert_int_equal(options->guard_sizes.maximum, 4096);
	options = accepted("guard_sizes=100");
	assert_int_equal(options->guard_sizes.minimum, 100);
	assert_int_equal(options->guard_sizes.maximum, 100);
	refused("guard_sizes=16-", "quarry: QUARRY_OPTIONS: guard_sizes=16-: not a size; allowed: MIN-MAX, each 0 to 1T "
	                           "(bytes, or with suffix K, M, G, T)\n");
	refused("guard_sizes=-16", "quarry: QUARRY_OPTIONS: guard_sizes=-16: not a size; allowed: MIN-MAX, each 0 to 1T "
	                           "(bytes, or with suffix K, M, G, T)\n");
	refused("guard_sizes=1-2T", "quarry: QUARRY_OPTIONS: guard_sizes=1-2T: out of range; allowed: MIN-MAX, each 0 to 1T "
	                            "(bytes, or with suffix K, M, G, T)\n");
	refused("guard_sizes=2-1", "quarry: QUARRY_OPTIONS: guard_sizes=2-1: not in order; allowed: MIN-MAX, each 0 to 1T "
	                           "(bytes, or with suffix K, M, G, T)\n");
	refused("guard_sizes=1-2-3", "quarry: QUARRY_OPTIONS: guard_sizes=1-2-3: not a size; allowed: MIN-MAX, each 0 to 1T "
	                             "(bytes, or with suffix K, M, G, T)\n");
}

static void test_strings(void **state UNUSED)
{
	char item[OPTION_STRING_BYTES + 64] = "guard_module=";
	size_t key = strlen(item);

	assert_string_equal(accepted("guard_module=libfoo.so.1,stats")->guard_module, "libfoo.so.1");
	assert_true(accepted("guard_module=libfoo.so.1,stats")->stats);
	assert_string_equal(accepted("guard_module=a=b")->guard_module, "a=b");
	assert_string_equal(accepted("guard_module=longer,guard_module=")->guard_module, "");
	memset(item + key, 'x', OPTION_STRING_BYTES - 1);
	assert_int_equal(strlen(accepted(item)->guard_module), OPTION_STRING_BYTES - 1);
	item[key + OPTION_STRING_BYTES - 1] = 'x';
	struct parse *parse = parse_of(item);
	assert_int_equal(parse->count, 1);
	assert_non_null(strstr(parse->buffer, "xxx...: too long; allowed: a name of at most 255 bytes\n"));
	assert_string_equal(parse->options.guard_module, "");
	refused("guard_module", "quarry: QUARRY_OPTIONS: guard_module: needs a value; allowed: a name of at most 255 bytes\n");
}

static void test_confirm(void **state UNUSED)
{
	char buffer[4096];
	struct options options;
	struct text text = text_over(buffer, 0);

	options_reset(&options);
	options_parse(&options, "retain=0,decay_ms=1", OPTION_FROM_PROGRAM, &text);
	options_parse(&options, "decay_ms=7,stats,retain=1536K", OPTION_FROM_ENVIRONMENT, &text);
	options_parse(&options, "foreign=abort", OPTION_FROM_PROGRAM, &text);
	text = text_over(buffer, sizeof(buffer));
	options_confirm_text(&options, &text);
	assert_string_equal(buffer,
	                    "quarry: foreign=abort (quarry_options)\n"
	                    "quarry: deepbind=mask (default)\n"
	                    "quarry: decay_ms=7 (QUARRY_OPTIONS)\n"
	                    "quarry: retain=1536K (QUARRY_OPTIONS)\n"
	                    "quarry: retain_percent=25 (default)\n"
	                    "quarry: retain_max=1T (default)\n"
	                    "quarry: limit=0 (default)\n"
	                    "quarry: scavenger=on (default)\n"
	                    "quarry: pressure=on (default)\n"
	                    "quarry: thp=default (default)\n"
	                    "quarry: guard=off (default)\n"
	                    "quarry: sample=0 (default)\n"
	                    "quarry: guard_align=16 (default)\n"
	                    "quarry: guard_place=end (default)\n"
	                    "quarry: guard_fill=64K (default)\n"
	                    "quarry: guard_quarantine=16G (default)\n"
	                    "quarry: guard_limit=0 (default)\n"
	                    "quarry: guard_sizes=0-1T (default)\n"
	                    "quarry: guard_module= (default)\n"
	                    "quarry: guard_every=1 (default)\n"
	                    "quarry: guard_with=auto (default)\n"
	                    "quarry: guard_leaks=off (default)\n"
	                    "quarry: guard_leaks_status=0 (default)\n"
	                    "quarry: guard_depth=32 (default)\n"
	                    "quarry: guard_depot=64M (default)\n"
	                    "quarry: guard_names=off (default)\n"
	                    "quarry: report= (default)\n"
	                    "quarry: report_format=text (default)\n"
	                    "quarry: on_error=abort (default)\n"
	                    "quarry: secure=0 (default)\n"
	                    "quarry: secure_zero=level (default)\n"
	                    "quarry: secure_verify=level (default)\n"
	                    "quarry: secure_canary=level (default)\n"
	                    "quarry: secure_random=level (default)\n"
	                    "quarry: secure_guards=level (default)\n"
	                    "quarry: secure_quarantine=1M (default)\n"
	                    "quarry: secure_quarantine_blocks=1023 (default)\n"
	                    "quarry: secure_large=level (default)\n"
	                    "quarry: secure_said=level (default)\n"
	                    "quarry: stats=on (QUARRY_OPTIONS)\n"
	                    "quarry: confirm=off (default)\n"
	                    "quarry: help=off (default)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_rows_are_whole),
		cmocka_unit_test(test_every_value_round_trips),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_many_items),
		cmocka_unit_test(test_last_wins),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_bad_numbers),
		cmocka_unit_test(test_bad_sizes),
		cmocka_unit_test(test_bad_words),
		cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_each_fault_is_one_line),
		cmocka_unit_test(test_hostile_text_is_shown_harmless),
		cmocka_unit_test(test_complaints_without_room_are_still_counted),
		cmocka_unit_test(test_random_strings),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_help_names_what_is_allowed),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_confirm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Options: one table (options.def), one parser for "key=value,key=value", the texts of help and confirm.
 * Pure: takes strings, makes no system call; src/api/init.c feeds it, tools/ uses it too. */
#ifndef QUARRY_BASE_OPTIONS_H
#define QUARRY_BASE_OPTIONS_H

#include "base/compiler.h"
#include "base/text.h"

enum option_foreign { OPTION_foreign_forward, OPTION_foreign_ignore, OPTION_foreign_abort };
enum option_deepbind { OPTION_deepbind_mask, OPTION_deepbind_keep };
enum option_thp { OPTION_thp_default, OPTION_thp_never, OPTION_thp_system, OPTION_thp_always };

enum option_guard_align { OPTION_guard_align_1, OPTION_guard_align_16 };
enum option_guard_place { OPTION_guard_place_end, OPTION_guard_place_before, OPTION_guard_place_random };
enum option_guard_leaks { OPTION_guard_leaks_off, OPTION_guard_leaks_on, OPTION_guard_leaks_possibly };
enum option_guard_with { OPTION_guard_with_auto, OPTION_guard_with_protection, OPTION_guard_with_checks };

enum option_report_format { OPTION_report_format_text, OPTION_report_format_json };
enum option_on_error { OPTION_on_error_abort, OPTION_on_error_warn, OPTION_on_error_ignore };
/* What a security level's checks can be set to. */
enum option_switch { OPTION_switch_level, OPTION_switch_on, OPTION_switch_off };
enum option_secure { OPTION_secure_0, OPTION_secure_1, OPTION_secure_2 };
enum option_secure_guards {
	OPTION_secure_guards_level,
	OPTION_secure_guards_none,
	OPTION_secure_guards_behind,
	OPTION_secure_guards_around,
};

/* Where a value came from, in rising precedence; the files are config.h's, the last two in place of each other. */
enum option_source {
	OPTION_FROM_DEFAULT,
	OPTION_FROM_PROGRAM,
	OPTION_FROM_SYSTEM_FILE,
	OPTION_FROM_USER_FILE,
	OPTION_FROM_NAMED_FILE,
	OPTION_FROM_ENVIRONMENT,
};

/* The longest value of a string option, with its 0. */
#define OPTION_STRING_BYTES 256

struct option_range {
	uint64_t minimum;
	uint64_t maximum;
};

/* The values: bool for flags, unsigned for choices (index into the list), uint64_t for sizes and counts, an array with
 * a terminator for strings. */
struct options {
#define OPTION_FLAG(name, default_value, help) bool name;
#define OPTION_CHOICE(name, default_value, choices, help) unsigned name;
#define OPTION_SIZE(name, default_value, minimum, maximum, help) uint64_t name;
#define OPTION_COUNT(name, default_value, minimum, maximum, help) uint64_t name;
#define OPTION_STRING(name, default_value, what, help) char name[OPTION_STRING_BYTES];
#define OPTION_RANGE(name, default_value, minimum, maximum, help) struct option_range name;
#include "base/options.def"
#undef OPTION_FLAG
#undef OPTION_CHOICE
#undef OPTION_SIZE
#undef OPTION_COUNT
#undef OPTION_STRING
#undef OPTION_RANGE
	uint8_t source[64];          /* enum option_source of each row, in the table's order */
};

enum option_type {
	OPTION_TYPE_FLAG,
	OPTION_TYPE_CHOICE,
	OPTION_TYPE_SIZE,
	OPTION_TYPE_COUNT,
	OPTION_TYPE_STRING,
	OPTION_TYPE_RANGE,
};

/* One row as data, for help, confirm, the manual and the command. */
struct option_row {
	const char *name;
	enum option_type type;
	const char *default_text;
	const char *choices;         /* "a|b|c"; STRING: what it is, in a word; NULL for others */
	const char *minimum_text;    /* NULL unless SIZE, COUNT or RANGE */
	const char *maximum_text;
	const char *help;
	uint16_t offset;             /* of the value in struct options */
};

size_t options_row_count(void);
const struct option_row *options_row(size_t index);

/* Fills in all defaults. */
void options_reset(struct options *options);

/* Reads `string` into `options`. Every unknown key or bad value appends one line to `complaints`, e.g.
 * quarry: QUARRY_OPTIONS: decay_ms=fast: not a number; allowed: 0 to 3600000
 * (naming source, key, value and range) and leaves the option as it was; the rest is still read. Flags may stand alone ("stats" is "stats=on").
 * Empty items are skipped. Returns the number of complaints. */
unsigned options_parse(struct options *options, const char *string, enum option_source source, struct text *complaints);

/* Where a string stands, for complaints. */
struct option_place {
	enum option_source source;
	const char *file;            /* NULL: no file */
	unsigned line;
};

/* As options_parse; from a file blanks around keys and values are skipped. */
unsigned options_parse_at(struct options *options, const char *bytes, size_t length, const struct option_place *place,
                          struct text *complaints);

/* A complaint like those, for what is no option. */
void options_complain(const struct option_place *place, const char *bytes, size_t length, const char *fault,
                      const char *allowed, struct text *complaints);

/* Whether somebody has given a value. */
bool options_is_set(const struct options *options, const char *name);

/* "off", "mask", "1000", "64M" ...: the current value of a row in words that the parser reads back. */
void options_value_text(const struct options *options, const struct option_row *row, struct text *text);

/* One line per option: name, type or range, default, help. */
void options_help_text(struct text *text);
/* One line per option: name=value and where it came from. */
void options_confirm_text(const struct options *options, struct text *text);

#endif

/* Reads "key=value,key=value" into the options that options.def lists, and puts them in words: see options.h. */
#include "base/options.h"

#include <string.h>

#include "base/slice.h"

/* What a complaint repeats of an item, at most: the rest becomes "...". */
#define QUOTED_BYTES_MAX 64

#define OPTION_FLAG(key, default_value, help_text) \
	{ #key, OPTION_TYPE_FLAG, #default_value, NULL, NULL, NULL, help_text, offsetof(struct options, key) },
#define OPTION_CHOICE(key, default_value, choices, help_text) \
	{ #key, OPTION_TYPE_CHOICE, #default_value, choices, NULL, NULL, help_text, offsetof(struct options, key) },
#define OPTION_SIZE(key, default_value, minimum, maximum, help_text) \
	{ #key, OPTION_TYPE_SIZE, #default_value, NULL, #minimum, #maximum, help_text, offsetof(struct options, key) },
#define OPTION_COUNT(key, default_value, minimum, maximum, help_text) \
	{ #key, OPTION_TYPE_COUNT, #default_value, NULL, #minimum, #maximum, help_text, offsetof(struct options, key) },
#define OPTION_STRING(key, default_value, what, help_text) \
	{ #key, OPTION_TYPE_STRING, #default_value, #what, NULL, NULL, help_text, offsetof(struct options, key) },
#define OPTION_RANGE(key, default_value, minimum, maximum, help_text) \
	{ #key, OPTION_TYPE_RANGE, #default_value, NULL, #minimum, #maximum, help_text, offsetof(struct options, key) },
static const struct option_row rows[] = {
#include "base/options.def"
};
#undef OPTION_FLAG
#undef OPTION_CHOICE
#undef OPTION_SIZE
#undef OPTION_COUNT
#undef OPTION_STRING
#undef OPTION_RANGE

#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))

_Static_assert(ROW_COUNT <= sizeof(((struct options *)0)->source), "struct options has a source for each row");
_Static_assert(sizeof(struct options) <= UINT16_MAX, "a row's offset fits");

/* Each is 1024 times the one before; the first is 1024 bytes. */
static const char size_suffixes[] = "KMGT";
#define SIZE_SUFFIX_COUNT (sizeof(size_suffixes) - 1)

/* ---- Values. Each reader returns NULL, or in words what is wrong; then it has stored nothing. ---- */

static const char *number_read(struct slice text, bool is_size, uint64_t *number)
{
	const char *malformed = is_size ? "not a size" : "not a number";
	unsigned shift = 0;
	uint64_t value = 0;
	bool overflow = false;

	if (is_size && text.length > 0) {
		const char *suffix = memchr(size_suffixes, text.bytes[text.length - 1], SIZE_SUFFIX_COUNT);
		if (suffix != NULL) {
			shift = 10 * (unsigned)(suffix - size_suffixes + 1);
			text.length--;
		}
	}
	if (text.length == 0)
		return malformed;
	for (size_t i = 0; i < text.length; i++) {
		unsigned digit = (unsigned)(unsigned char)text.bytes[i] - '0';
		if (digit > 9)
			return malformed;
		overflow |= __builtin_mul_overflow(value, (uint64_t)10, &value);
		overflow |= __builtin_add_overflow(value, (uint64_t)digit, &value);
	}
	if (overflow || value > UINT64_MAX >> shift)
		return "out of range";
	*number = value << shift;
	return NULL;
}

static const char *ranged_read(const struct option_row *row, struct slice text, uint64_t *number)
{
	bool is_size = row->type != OPTION_TYPE_COUNT;
	uint64_t value = 0;
	uint64_t minimum = 0;
	uint64_t maximum = UINT64_MAX;
	const char *fault = number_read(text, is_size, &value);

	if (fault != NULL)
		return fault;
	number_read(slice_of(row->minimum_text), is_size, &minimum);
	number_read(slice_of(row->maximum_text), is_size, &maximum);
	if (value < minimum || value > maximum)
		return "out of range";
	*number = value;
	return NULL;
}

/* "16-4K"; "16" is "16-16". */
static const char *range_read(const struct option_row *row, struct slice text, struct option_range *range)
{
	struct slice rest = text;
	struct slice first = slice_cut(&rest, '-');
	struct option_range read = { 0 };
	const char *fault = ranged_read(row, first, &read.minimum);

	read.maximum = read.minimum;
	if (fault == NULL && first.length < text.length)
		fault = ranged_read(row, rest, &read.maximum);
	if (fault != NULL)
		return fault;
	if (read.minimum > read.maximum)
		return "not in order";
	*range = read;
	return NULL;
}

static const char *string_read(struct slice text, char *string)
{
	if (text.length >= OPTION_STRING_BYTES)
		return "too long";
	memset(string, 0, OPTION_STRING_BYTES);
	memcpy(string, text.bytes, text.length);
	return NULL;
}

static const char *choice_read(const char *choices, struct slice text, unsigned *choice)
{
	struct slice rest = slice_of(choices);

	for (unsigned index = 0; rest.length > 0; index++) {
		struct slice candidate = slice_cut(&rest, '|');
		if (candidate.length == text.length && memcmp(candidate.bytes, text.bytes, text.length) == 0) {
			*choice = index;
			return NULL;
		}
	}
	return "not one of the choices";
}

static const char *flag_read(struct slice text, bool *flag)
{
	if (!slice_is(text, "on") && !slice_is(text, "off"))
		return "neither on nor off";
	*flag = slice_is(text, "on");
	return NULL;
}

static const char *value_read(struct options *options, const struct option_row *row, struct slice text)
{
	char *place = (char *)options + row->offset;

	switch (row->type) {
	case OPTION_TYPE_FLAG:
		return flag_read(text, (bool *)place);
	case OPTION_TYPE_CHOICE:
		return choice_read(row->choices, text, (unsigned *)place);
	case OPTION_TYPE_STRING:
		return string_read(text, place);
	case OPTION_TYPE_RANGE:
		return range_read(row, text, (struct option_range *)place);
	case OPTION_TYPE_SIZE:
	case OPTION_TYPE_COUNT:
		break;
	}
	return ranged_read(row, text, (uint64_t *)place);
}

/* ---- Words ---- */

static const char *source_name(unsigned source)
{
	static const char names[][20] = {
		[OPTION_FROM_DEFAULT] = "default",
		[OPTION_FROM_PROGRAM] = "quarry_options",
		[OPTION_FROM_SYSTEM_FILE] = "/etc/quarry.conf",
		[OPTION_FROM_USER_FILE] = "quarry.conf",
		[OPTION_FROM_NAMED_FILE] = "QUARRY_CONFIG",
		[OPTION_FROM_ENVIRONMENT] = "QUARRY_OPTIONS",
	};

	return source < sizeof(names) / sizeof(names[0]) ? names[source] : "?";
}

static void allowed_text(const struct option_row *row, struct text *text)
{
	switch (row->type) {
	case OPTION_TYPE_FLAG:
		text_string(text, "on|off");
		return;
	case OPTION_TYPE_CHOICE:
		text_string(text, row->choices);
		return;
	case OPTION_TYPE_STRING:
		text_format(text, "a %s of at most %u bytes", row->choices, (uint64_t)(OPTION_STRING_BYTES - 1));
		return;
	case OPTION_TYPE_RANGE:
		text_string(text, "MIN-MAX, each ");
		break;
	case OPTION_TYPE_SIZE:
	case OPTION_TYPE_COUNT:
		break;
	}
	text_format(text, "%s to %s", row->minimum_text, row->maximum_text);
	if (row->type != OPTION_TYPE_COUNT)
		text_string(text, " (bytes, or with suffix K, M, G, T)");
}

/* What the user wrote, without bytes that could do things to his terminal. */
static void quoted_text(struct slice item, struct text *text)
{
	for (size_t i = 0; i < item.length && i < QUOTED_BYTES_MAX; i++)
		text_char(text, item.bytes[i] >= 0x20 && item.bytes[i] < 0x7f ? item.bytes[i] : '?');
	if (item.length > QUOTED_BYTES_MAX)
		text_string(text, "...");
}

static void complaint_begin(struct text *text, const struct option_place *place, struct slice item, const char *fault)
{
	text_format(text, "quarry: %s:", place->file != NULL ? place->file : source_name(place->source));
	if (place->file != NULL)
		text_format(text, "%u:", (uint64_t)place->line);
	text_char(text, ' ');
	quoted_text(item, text);
	text_format(text, ": %s; allowed: ", fault);
}

/* `row` is NULL if there is no such option. */
static void complain(struct text *text, const struct option_place *place, struct slice item, const char *fault,
                     const struct option_row *row)
{
	complaint_begin(text, place, item, fault);
	if (row != NULL)
		allowed_text(row, text);
	for (size_t i = 0; row == NULL && i < ROW_COUNT; i++)
		text_format(text, i == 0 ? "%s" : ", %s", rows[i].name);
	text_char(text, '\n');
}

/* ---- options.h ---- */

size_t options_row_count(void)
{
	return ROW_COUNT;
}

const struct option_row *options_row(size_t index)
{
	return index < ROW_COUNT ? &rows[index] : NULL;
}

void options_reset(struct options *options)
{
	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < ROW_COUNT; i++)
		value_read(options, &rows[i], slice_of(rows[i].default_text));
}

static const struct option_row *row_find(struct slice key)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (slice_is(key, rows[i].name))
			return &rows[i];
	return NULL;
}

/* One "key=value" or "flag"; false if it was complained about. In files blanks may stand around each part. */
static bool item_read(struct options *options, struct slice item, const struct option_place *place, struct text *complaints)
{
	struct slice value = item;
	struct slice key = slice_cut(&value, '=');
	bool has_value = key.length < item.length;

	if (place->file != NULL) {
		key = slice_trim(key);
		value = slice_trim(value);
	}
	const struct option_row *row = row_find(key);
	const char *fault = "no such option";
	if (row != NULL && has_value)
		fault = value_read(options, row, value);
	else if (row != NULL && row->type == OPTION_TYPE_FLAG)
		fault = value_read(options, row, slice_of("on"));
	else if (row != NULL)
		fault = "needs a value";
	if (fault != NULL) {
		complain(complaints, place, item, fault, row);
		return false;
	}
	options->source[row - rows] = (uint8_t)place->source;
	return true;
}

unsigned options_parse_at(struct options *options, const char *bytes, size_t length, const struct option_place *place,
                          struct text *complaints)
{
	unsigned count = 0;

	for (struct slice rest = { bytes, length }; rest.length > 0;) {
		struct slice item = slice_cut(&rest, ',');
		if (place->file != NULL)
			item = slice_trim(item);
		if (item.length > 0 && !item_read(options, item, place, complaints))
			count++;
	}
	return count;
}

unsigned options_parse(struct options *options, const char *string, enum option_source source, struct text *complaints)
{
	if (string == NULL)
		return 0;
	return options_parse_at(options, string, strlen(string), &(struct option_place){ .source = source }, complaints);
}

void options_complain(const struct option_place *place, const char *bytes, size_t length, const char *fault,
                      const char *allowed, struct text *complaints)
{
	complaint_begin(complaints, place, (struct slice){ bytes, length }, fault);
	text_format(complaints, "%s\n", allowed);
}

bool options_is_set(const struct options *options, const char *name)
{
	const struct option_row *row = row_find(slice_of(name));

	return row != NULL && options->source[row - rows] != OPTION_FROM_DEFAULT;
}

static void choice_text(const char *choices, unsigned choice, struct text *text)
{
	struct slice rest = slice_of(choices);
	struct slice word = slice_cut(&rest, '|');

	for (; choice > 0; choice--)
		word = slice_cut(&rest, '|');
	text_bytes(text, word.bytes, word.length);
}

/* In the largest unit that divides it. */
static void size_text(uint64_t bytes, struct text *text)
{
	size_t divisions = 0;

	while (bytes != 0 && bytes % 1024 == 0 && divisions < SIZE_SUFFIX_COUNT) {
		bytes /= 1024;
		divisions++;
	}
	text_decimal(text, bytes);
	if (divisions > 0)
		text_char(text, size_suffixes[divisions - 1]);
}

void options_value_text(const struct options *options, const struct option_row *row, struct text *text)
{
	const char *place = (const char *)options + row->offset;

	switch (row->type) {
	case OPTION_TYPE_FLAG:
		text_string(text, *(const bool *)place ? "on" : "off");
		break;
	case OPTION_TYPE_CHOICE:
		choice_text(row->choices, *(const unsigned *)place, text);
		break;
	case OPTION_TYPE_SIZE:
		size_text(*(const uint64_t *)place, text);
		break;
	case OPTION_TYPE_COUNT:
		text_decimal(text, *(const uint64_t *)place);
		break;
	case OPTION_TYPE_STRING:
		text_string(text, place);
		break;
	case OPTION_TYPE_RANGE:
		size_text(((const struct option_range *)place)->minimum, text);
		text_char(text, '-');
		size_text(((const struct option_range *)place)->maximum, text);
		break;
	}
}

void options_help_text(struct text *text)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		text_format(text, "%s (", rows[i].name);
		allowed_text(&rows[i], text);
		text_format(text, ", default %s): %s\n", *rows[i].default_text != 0 ? rows[i].default_text : "empty", rows[i].help);
	}
}

void options_confirm_text(const struct options *options, struct text *text)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		text_format(text, "quarry: %s=", rows[i].name);
		options_value_text(options, &rows[i], text);
		text_format(text, " (%s)\n", source_name(options->source[i]));
	}
}

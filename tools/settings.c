/* From arguments to the text of QUARRY_OPTIONS, checked by the library's own parser: see settings.h. */
#include "tools/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "tools/command.h"

/* The options of this group stand under their own heading in --help. */
#define SETTINGS_GROUP 1

/* ---- argp's table ---- */

/* The row `help` makes the library print what `quarry options` prints; here --help is the command's own. */
static bool is_argument(const struct option_row *row)
{
	return strcmp(row->name, "help") != 0;
}

static const char *argument_words(const struct option_row *row)
{
	switch (row->type) {
	case OPTION_TYPE_FLAG:
		return "on|off";
	case OPTION_TYPE_CHOICE:
		return row->choices;
	case OPTION_TYPE_SIZE:
		return "SIZE";
	case OPTION_TYPE_STRING:
		return "TEXT";
	case OPTION_TYPE_RANGE:
		return "MIN-MAX";
	case OPTION_TYPE_COUNT:
		break;
	}
	return "NUMBER";
}

static char *documentation(const struct option_row *row)
{
	if (row->minimum_text == NULL)
		return format_text("%s (default: %s)", row->help, row->default_text);
	return format_text("%s (%s to %s, default: %s)", row->help, row->minimum_text, row->maximum_text, row->default_text);
}

static char *with_dashes(const char *name)
{
	char *copy = copy_text(name);

	for (char *c = copy; *c != 0; c++)
		if (*c == '_')
			*c = '-';
	return copy;
}

static size_t own_count(const struct argp_option *own)
{
	size_t count = 0;

	while (own[count].name != NULL || own[count].doc != NULL)
		count++;
	return count;
}

struct argp_option *settings_arguments(const struct argp_option *own)
{
	size_t count = own_count(own);
	struct argp_option *arguments = resize_array(NULL, count + 2 * options_row_count() + 2, sizeof(*arguments));

	memcpy(arguments, own, count * sizeof(*own));
	arguments[count++] = (struct argp_option){ .doc = "Options of the library, as in quarry_options(7):",
		                                   .group = SETTINGS_GROUP };
	for (size_t i = 0; i < options_row_count(); i++) {
		const struct option_row *row = options_row(i);
		if (!is_argument(row))
			continue;
		arguments[count++] = (struct argp_option){
			.name = copy_text(row->name),
			.key = SETTINGS_KEY + (int)i,
			.arg = argument_words(row),
			.flags = row->type == OPTION_TYPE_FLAG ? OPTION_ARG_OPTIONAL : 0,
			.doc = documentation(row),
			.group = SETTINGS_GROUP,
		};
		if (strchr(row->name, '_') != NULL)
			arguments[count++] = (struct argp_option){ .name = with_dashes(row->name),
				                                   .flags = OPTION_ALIAS | OPTION_HIDDEN };
	}
	arguments[count] = (struct argp_option){ 0 };
	return arguments;
}

void settings_arguments_free(struct argp_option *arguments, const struct argp_option *own)
{
	/* What follows the own ones and the heading was allocated here. */
	for (struct argp_option *argument = arguments + own_count(own) + 1; argument->name != NULL; argument++) {
		free((void *)(uintptr_t)argument->name);
		free((void *)(uintptr_t)argument->doc);
	}
	free(arguments);
}

/* ---- Values ---- */

/* The parser's words for a fault, with the argument's name in place of the environment variable's. */
static void complain_argument(const char *complaint)
{
	static const char prefix[] = "quarry: QUARRY_OPTIONS: ";

	if (strncmp(complaint, prefix, strlen(prefix)) == 0)
		complaint += strlen(prefix);
	complain("--%.*s", (int)strcspn(complaint, "\n"), complaint);
}

bool settings_add(char **settings, int key, const char *value)
{
	const struct option_row *row = options_row((size_t)(key - SETTINGS_KEY));
	char *item = format_text("%s=%s", row->name, value != NULL ? value : "on");
	char buffer[1024];
	struct text complaints = text_over(buffer, sizeof(buffer));
	struct options options;

	options_reset(&options);
	bool valid = options_parse(&options, item, OPTION_FROM_ENVIRONMENT, &complaints) == 0;
	if (!valid) {
		complain_argument(buffer);
	} else if (strchr(item, ',') != NULL) {
		complain("--%s: a comma ends a value; give each option on its own", item);
		valid = false;
	} else {
		char *merged = settings_merge(*settings, item);
		free(*settings);
		*settings = merged;
	}
	free(item);
	return valid;
}

static struct options settings_read(const char *settings)
{
	struct text nowhere = text_over(NULL, 0);
	struct options options;

	options_reset(&options);
	options_parse(&options, settings, OPTION_FROM_ENVIRONMENT, &nowhere);
	return options;
}

bool settings_guard(const char *settings)
{
	return settings_read(settings).guard;
}

bool settings_report(const char *settings)
{
	return settings_read(settings).report[0] != 0;
}

/* ---- Merging ---- */

static bool has_key(const char *settings, const char *key, size_t length)
{
	for (const char *item = settings; item != NULL && *item != 0;) {
		if (strcspn(item, "=,") == length && memcmp(item, key, length) == 0)
			return true;
		item += strcspn(item, ",");
		item += *item == ',';
	}
	return false;
}

char *settings_merge(const char *before, const char *settings)
{
	char *merged = copy_text("");

	for (const char *item = before; item != NULL && *item != 0;) {
		size_t length = strcspn(item, ",");
		if (length > 0 && !has_key(settings, item, strcspn(item, "=,"))) {
			char *longer = format_text("%s%s%.*s", merged, *merged == 0 ? "" : ",", (int)length, item);
			free(merged);
			merged = longer;
		}
		item += length;
		item += *item == ',';
	}
	if (settings == NULL || *settings == 0)
		return merged;
	char *whole = format_text("%s%s%s", merged, *merged == 0 ? "" : ",", settings);
	free(merged);
	return whole;
}

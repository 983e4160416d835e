/* The library's options as arguments of a command: one long option per row of the option table, collected as the text
 * of QUARRY_OPTIONS. */
#ifndef QUARRY_TOOLS_SETTINGS_H
#define QUARRY_TOOLS_SETTINGS_H

#include <argp.h>
#include <stdbool.h>

/* `own` (ended by {0}) followed by the rows (to be freed, with settings_arguments_free). Keys from SETTINGS_KEY up are
 * rows. A name is also understood with '-' in place of '_'. */
#define SETTINGS_KEY 0x1000
struct argp_option *settings_arguments(const struct argp_option *own);
void settings_arguments_free(struct argp_option *arguments, const struct argp_option *own);

/* Adds "key=value" to *settings (NULL at first, to be freed). `value` is NULL for a flag that stands alone. False, and
 * a complaint that names key, value and what is allowed, if it is not a value of that option. */
bool settings_add(char **settings, int key, const char *value);

/* Whether they say where reports go. */
bool settings_report(const char *settings);

/* The items of `before` whose keys are not in `settings`, then `settings`. Either may be NULL. To be freed. */
char *settings_merge(const char *before, const char *settings);

/* Whether the library, given these, would guard. */
bool settings_guard(const char *settings);

#endif

/* Configuration files: options for all programs, and for some of them. Pure: takes the text, makes no system call.
 *
 *     # A comment.
 *     decay_ms=500                        for every program
 *     [redis-server]                      for programs whose path's last part is that, up to the next [
 *     retain=1G, thp=always
 *     [python3* /opt/app/bin/v?]          for any of these; with a / in it, the whole path must match
 *     secure = 1
 *
 * In a pattern * stands for any characters, / too, ? for one. */
#ifndef QUARRY_BASE_CONFIG_H
#define QUARRY_BASE_CONFIG_H

#include "base/options.h"

#define CONFIG_SYSTEM_PATH "/etc/quarry.conf"

/* More than that is not read. */
#define CONFIG_BYTES_MAX ((size_t)65536)

struct config_file {
	const char *path;
	enum option_source source;
};

/* What chooses the files; NULL: unset. */
struct config_environment {
	bool secure;                    /* the process gained privileges: the system's file alone */
	const char *named;              /* QUARRY_CONFIG: in place of the user's */
	const char *configuration;      /* XDG_CONFIG_HOME */
	const char *home;               /* HOME */
};

/* The files that are read for a process, in their order; returns how many. The path of the second may be in `buffer`. */
size_t config_files(const struct config_environment *environment, struct config_file files[2], char *buffer, size_t capacity);

/* Complains that a file can't be read, if that is worth a word: it was named, or is there. `error`: a positive errno. */
unsigned config_unread(const struct config_file *file, int error, struct text *complaints);

/* Reads what the text says for the program at `program` ("": unknown, only what is for all) into `options`; in order, so
 * that of an option given twice the last counts. Complaints as options_parse makes them, with file and line; returns how
 * many. */
unsigned config_parse(struct options *options, const char *text, size_t length, const char *program,
                      const struct config_file *file, struct text *complaints);

#endif

/* The subcommands of `quarry`, and what they share: messages, checked memory. */
#ifndef QUARRY_TOOLS_COMMAND_H
#define QUARRY_TOOLS_COMMAND_H

#include <argp.h>
#include <stddef.h>

/* Exit statuses of `quarry run` before the program has taken over; as env(1). */
enum { RUN_FAILED = 125, RUN_NOT_EXECUTABLE = 126, RUN_NOT_FOUND = 127 };

/* Exit statuses of `quarry check`. */
enum { CHECK_PRESENT = 0, CHECK_ABSENT = 1, CHECK_FAILED = 2 };

/* argv[0] is "quarry SUBCOMMAND"; what follows are the subcommand's own arguments. Each returns an exit status, or doesn't. */
int command_run(int argc, char **argv);
int command_check(int argc, char **argv);
int command_options(int argc, char **argv);
int command_symbolize(int argc, char **argv);

/* "quarry: MESSAGE\n" on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and ends with `status`. */
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* asprintf; never NULL: short memory ends the command. */
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *copy_text(const char *text);
void *resize_array(void *array, size_t count, size_t size);

/* realpath; `path` itself if that fails. */
char *whole_path(const char *path);
/* What follows the last '/'. */
const char *last_part(const char *path);

#endif

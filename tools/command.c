/* Messages and checked memory for all subcommands: see command.h. */
#include "tools/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void complain_list(const char *format, va_list arguments)
{
	fflush(stdout);
	fputs("quarry: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain_list(format, arguments);
	va_end(arguments);
}

void fail(int status, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain_list(format, arguments);
	va_end(arguments);
	exit(status);
}

/* argp_err_exit_status is the running subcommand's status for failures of its own. */
static void *checked(void *memory)
{
	if (memory == NULL)
		fail(argp_err_exit_status, "out of memory");
	return memory;
}

char *format_text(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	int length = vasprintf(&text, format, arguments);
	va_end(arguments);
	return checked(length < 0 ? NULL : text);
}

char *copy_text(const char *text)
{
	return checked(strdup(text));
}

void *resize_array(void *array, size_t count, size_t size)
{
	return checked(reallocarray(array, count, size));
}

char *whole_path(const char *path)
{
	char *whole = realpath(path, NULL);

	return whole != NULL ? whole : copy_text(path);
}

const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

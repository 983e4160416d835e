/* `quarry options`: the table of the library's options, as QUARRY_OPTIONS=help prints it. */
#include <argp.h>
#include <stdio.h>

#include "base/options.h"
#include "tools/command.h"

static error_t argument_take(int key, char *argument, struct argp_state *state UNUSED)
{
	switch (key) {
	case ARGP_KEY_ARG:
		fail(argp_err_exit_status, "options: takes no argument, not %s", argument);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_options(int argc, char **argv)
{
	const struct argp argp = { .parser = argument_take,
		                   .doc = "Prints the library's options, as QUARRY_OPTIONS and `quarry run' take them." };
	char buffer[16384];
	struct text text = text_over(buffer, sizeof(buffer));

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	options_help_text(&text);
	fputs(buffer, stdout);
	return 0;
}

/* The `quarry` command: hands its arguments to a subcommand. */
#include <argp.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quarry/quarry.h"
#include "tools/command.h"

/* Of the command where a subcommand says nothing else: as `quarry check`. */
#define STATUS_FAILED CHECK_FAILED

/* argp, in the C library, looks for this name: it must stand in the command's dynamic symbols. */
QUARRY_EXPORT const char *argp_program_version = "quarry " QUARRY_VERSION;

static const struct command {
	const char *name;
	const char *whole_name;      /* argp puts it before messages and usage */
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "run", "quarry run", command_run },
	{ "check", "quarry check", command_check },
	{ "options", "quarry options", command_options },
	{ "symbolize", "quarry symbolize", command_symbolize },
};

static const char documentation[] =
	"Runs programs with the allocator Quarry, and tells whether it is active in them.\v"
	"Commands:\n"
	"  run [OPTION...] PROGRAM [ARGUMENT...]\n"
	"                             starts a program with Quarry\n"
	"  check PROGRAM|PID          is Quarry active there, and if not, why?\n"
	"  options                    the library's options\n"
	"  symbolize [FILE]           puts functions and lines into reports\n"
	"\n"
	"`quarry COMMAND --help' tells more.";

struct request {
	const struct command *command;
	int argc;
	char **argv;                 /* [0] is the command's name */
};

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static error_t argument_take(int key, char *argument, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		request->command = command_find(argument);
		if (request->command == NULL)
			fail(STATUS_FAILED, "no such command: %s; there are: run, check, options, symbolize", argument);
		request->argv = &state->argv[state->next - 1];
		request->argc = state->argc - state->next + 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		fail(STATUS_FAILED, "no command given; there are: run, check, options, symbolize; see `quarry --help'");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = { .parser = argument_take, .args_doc = "COMMAND [ARGUMENT...]", .doc = documentation };
	struct request request = { 0 };
	static char name[] = "quarry";

	argp_err_exit_status = STATUS_FAILED;
	if (argc > 0)
		argv[0] = name;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &request);
	request.argv[0] = (char *)(uintptr_t)request.command->whole_name;
	int status = request.command->run(request.argc, request.argv);
	/* What did not fit into the buffer was written before. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("writing: %s", strerror(errno));
		return STATUS_FAILED;
	}
	return status;
}

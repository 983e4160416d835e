/* `quarry check`: is Quarry active in a process, or would it be in a program, and which objects bring another malloc? */
#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"
#include "tools/library.h"
#include "tools/preload.h"
#include "tools/process.h"
#include "tools/program.h"

enum { KEY_LIB = 'L' + 0x100 };

static const struct argp_option options[] = {
	{ .name = "lib", .key = KEY_LIB, .arg = "PATH", .doc = "The libquarry.so to preload, as for `quarry run'" },
	{ 0 },
};

static const char documentation[] =
	"Tells whether Quarry is active in process PID, or would be in PROGRAM when `quarry run' starts it.\v"
	"Prints `active', `partial' or `absent' and why, then each object that brings an allocator of its own; for a "
	"process also the options in effect. Exit status: 0 active or partial, 1 absent, 2 failure.";

struct request {
	const char *library;
	const char *subject;
};

static error_t argument_take(int key, char *argument, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case KEY_LIB:
		request->library = argument;
		return 0;
	case ARGP_KEY_ARG:
		if (request->subject != NULL)
			fail(CHECK_FAILED, "check: one program or process at a time, not also %s", argument);
		request->subject = argument;
		return 0;
	case ARGP_KEY_NO_ARGS:
		fail(CHECK_FAILED, "check: no program or process given; see `quarry check --help'");
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The process that the subject numbers, 0 if it isn't a number. */
static long process_number(const char *subject)
{
	char *end;

	if (!isdigit((unsigned char)*subject))
		return 0;
	errno = 0;
	long number = strtol(subject, &end, 10);
	return *end == 0 && errno == 0 ? number : 0;
}

static int program_diagnose(struct diagnosis *diagnosis, const struct request *request)
{
	struct program program;
	char *fault;
	int result = -1;

	if (program_find(&program, request->subject, &fault) == 0) {
		char *library = library_find(request->library, &program.elf, &fault);
		if (library != NULL) {
			preload_diagnose(diagnosis, &program, library, true);
			result = 0;
		}
		free(library);
	}
	if (result != 0)
		complain("%s", fault);
	free(fault);
	program_free(&program);
	return result;
}

int command_check(int argc, char **argv)
{
	const struct argp argp = { .options = options, .parser = argument_take, .args_doc = "PROGRAM|PID",
		                   .doc = documentation };
	struct request request = { 0 };
	struct diagnosis diagnosis = { 0 };

	argp_parse(&argp, argc, argv, 0, NULL, &request);
	long pid = process_number(request.subject);
	int result = pid > 0 ? process_diagnose(&diagnosis, pid) : program_diagnose(&diagnosis, &request);
	int status = CHECK_FAILED;
	if (result == 0) {
		diagnosis_print(&diagnosis);
		status = diagnosis.verdict == VERDICT_ABSENT ? CHECK_ABSENT : CHECK_PRESENT;
	}
	diagnosis_free(&diagnosis);
	return status;
}

/* `quarry run`: starts a program with the library preloaded, and says so if it won't be active there.
 *
 * The command becomes the program (exec), so its process id, job control, signals and exit status are its own and
 * nothing stays in between; but in guard mode, where a parent stays that reads the reports (watch.h). That leaves no one to
 * look afterwards; a parent that waits and looks in /proc/PID/maps would miss a program that ends at once, come too early or
 * too late for others, and have to imitate all of the above.
 * So the question is asked before: of the program's files (static, privileged, other machine, other C library, own
 * malloc) and then of the program's own loader, which lists what it would load under this very LD_PRELOAD without
 * running the program (rehearsal.h). What is left is a security module that changes the profile at exec; `quarry check
 * PID` sees that in the running process. */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/command.h"
#include "tools/library.h"
#include "tools/pools.h"
#include "tools/preload.h"
#include "tools/program.h"
#include "tools/settings.h"
#include "tools/watch.h"

enum { KEY_LIB = 'L' + 0x100, KEY_KEEP_POOLS };

static const struct argp_option own_options[] = {
	{ .name = "lib", .key = KEY_LIB, .arg = "PATH", .doc = "The libquarry.so to preload" },
	{ .name = "keep-pools", .key = KEY_KEEP_POOLS, .doc = "With --guard: leave on the pools of Python, PHP, GLib and others" },
	{ 0 },
};

static const char documentation[] =
	"Starts PROGRAM with Quarry as its allocator.\v"
	"The library is taken from --lib, else $QUARRY_LIB, else where it was installed or built with this command. If it "
	"will not be active in PROGRAM, one line says why and PROGRAM runs without it. With --guard, PROGRAM runs as a child, and "
	"its reports get functions and lines. Exit status: PROGRAM's own; 125 if "
	"this command fails, 126 if PROGRAM can't be executed, 127 if it isn't found.";

struct request {
	const char *library;
	char *settings;              /* from the command line, NULL if none */
	bool keep_pools;
	char **program;              /* its argv, NULL-terminated */
};

static error_t argument_take(int key, char *argument, struct argp_state *state)
{
	struct request *request = state->input;

	if (key >= SETTINGS_KEY && key < SETTINGS_KEY + 0x1000) {
		if (!settings_add(&request->settings, key, argument))
			exit(RUN_FAILED);
		return 0;
	}
	switch (key) {
	case KEY_LIB:
		request->library = argument;
		return 0;
	case KEY_KEEP_POOLS:
		request->keep_pools = true;
		return 0;
	case ARGP_KEY_ARG:
		request->program = &state->argv[state->next - 1];
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		complain("run: no program given; see `quarry run --help'");
		exit(RUN_FAILED);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void arguments_read(struct request *request, int argc, char **argv)
{
	struct argp_option *options = settings_arguments(own_options);
	struct argp argp = { .options = options, .parser = argument_take, .args_doc = "PROGRAM [ARGUMENT...]",
		             .doc = documentation };

	argp_err_exit_status = RUN_FAILED;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, request);
	settings_arguments_free(options, own_options);
}

/* In guard mode reports are read here, for functions and lines, unless they are wanted elsewhere. */
static bool reports_take(struct request *request)
{
	char *settings = settings_merge(getenv("QUARRY_OPTIONS"), request->settings);
	bool wanted = settings_guard(settings) && !settings_report(settings);
	char *setting = wanted ? watch_setting() : NULL;

	if (setting != NULL) {
		char *merged = settings_merge(request->settings, setting);
		free(request->settings);
		request->settings = merged;
	}
	free(setting);
	free(settings);
	return setting != NULL;
}

static void environment_set(const char *name, const char *value)
{
	if (setenv(name, value, 1) != 0)
		fail(RUN_FAILED, "setting %s: %s", name, strerror(errno));
}

static void environment_prepare(const struct request *request, const char *library)
{
	char *preload = preload_list(library);
	char *settings = settings_merge(getenv("QUARRY_OPTIONS"), request->settings);

	environment_set("LD_PRELOAD", preload);
	if (request->settings != NULL)
		environment_set("QUARRY_OPTIONS", settings);
	if (settings_guard(settings) && !request->keep_pools && !pools_switch_off())
		fail(RUN_FAILED, "setting the environment: %s", strerror(errno));
	free(preload);
	free(settings);
}

/* One line if the program will run without Quarry. */
static void announce(const struct program *program, const char *library)
{
	struct diagnosis diagnosis = { 0 };

	preload_diagnose(&diagnosis, program, library, false);
	if (diagnosis.verdict == VERDICT_ABSENT)
		complain("%s: Quarry will not be active: %s", program->path, diagnosis.reason);
	diagnosis_free(&diagnosis);
}

static char *library_choose(const struct request *request, const struct program *program)
{
	char *fault;
	char *library = library_find(request->library, &program->elf, &fault);

	if (library == NULL)
		fail(RUN_FAILED, "%s", fault);
	if (strpbrk(library, ": ") != NULL)
		fail(RUN_FAILED, "%s: the loader can't preload from a path with a colon or a blank", library);
	return library;
}

int command_run(int argc, char **argv)
{
	struct request request = { 0 };
	struct program program;
	char *fault;

	arguments_read(&request, argc, argv);
	int error = program_find(&program, request.program[0], &fault);
	if (error != 0)
		fail(error == ENOENT ? RUN_NOT_FOUND : RUN_NOT_EXECUTABLE, "%s", fault);
	char *library = library_choose(&request, &program);
	announce(&program, library);
	bool watched = reports_take(&request);
	environment_prepare(&request, library);
	if (watched)
		return watch_program(program.path, request.program);
	execvp(program.path, request.program);
	error = errno;
	fail(error == ENOENT ? RUN_NOT_FOUND : RUN_NOT_EXECUTABLE, "%s: %s", program.path, strerror(error));
}

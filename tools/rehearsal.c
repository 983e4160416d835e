/* `LOADER --list PROGRAM`: the very code that will preload, or won't, says so beforehand (glibc and musl).
 *
 * Runs no code of the program, unlike ldd's way of starting the program itself. What it can't see is what the kernel
 * does at exec: privileges (program.h) and a security module's change of profile. */
#include "tools/rehearsal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/command.h"

/* Loaders whose --list is known to list. Another one might take it for the name of a program. */
static bool loader_is_known(const char *loader)
{
	const char *name = last_part(loader);

	return strncmp(name, "ld-linux", 8) == 0 || strncmp(name, "ld-musl", 7) == 0 || strncmp(name, "ld64.so", 7) == 0 ||
	       strncmp(name, "ld.so", 5) == 0 || strncmp(name, "ld-2.", 5) == 0;
}

_Noreturn static void loader_start(const struct program *program, const char *preload, int output)
{
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	setenv("LD_PRELOAD", preload, 1);
	unsetenv("LD_DEBUG");
	unsetenv("LD_TRACE_LOADED_OBJECTS");
	unsetenv("LD_AUDIT");
	execl(program->elf.interpreter, program->elf.interpreter, "--list", program->binary, (char *)NULL);
	_exit(RUN_NOT_EXECUTABLE);
}

static bool is_same_file(const char *a, const char *b)
{
	struct stat first, second;

	return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

static bool needs(const char *library, const char *name)
{
	struct elf_file elf;
	const char *needed;
	bool found = false;

	if (elf_open(&elf, library) != 0)
		return false;
	for (size_t i = 0; !found && (needed = elf_needed(&elf, i)) != NULL; i++)
		found = strcmp(needed, name) == 0;
	elf_close(&elf);
	return found;
}

/* "\tlibc.so.6 => /lib/libc.so.6 (0x7f...)", "\t/lib/ld.so (0x7f...)"; other lines name no file. */
static void object_line(struct rehearsal *rehearsal, char *line, const char *library)
{
	char *arrow = strstr(line, " => ");
	char *path = arrow != NULL ? arrow + strlen(" => ") : line + 1;
	char *address = strstr(path, " (0x");

	if (address == NULL || strchr(path, '/') == NULL)
		return;
	*address = 0;
	rehearsal->objects = resize_array(rehearsal->objects, rehearsal->object_count + 1, sizeof(char *));
	rehearsal->objects[rehearsal->object_count++] = copy_text(path);
	rehearsal->preloaded |= is_same_file(path, library);
}

/* PROGRAM: error while loading shared libraries: NAME: cannot open shared object file: ... */
static void missing_line(struct rehearsal *rehearsal, char *line, const char *library)
{
	static const char start[] = "error while loading shared libraries: ";
	char *name = strstr(line, start);

	if (name == NULL)
		return;
	name += strlen(start);
	name[strcspn(name, ":")] = 0;
	if (needs(library, name))
		rehearsal->complaint = format_text("it needs %s, which is not found, and the program would end for that", name);
}

/* ERROR: ld.so: object 'LIBRARY' from LD_PRELOAD cannot be preloaded (REASON): ignored. */
static void complaint_line(struct rehearsal *rehearsal, char *line, const char *library)
{
	line[strcspn(line, "\n")] = 0;
	if (rehearsal->complaint != NULL)
		return;
	if (strstr(line, library) == NULL) {
		missing_line(rehearsal, line, library);
		return;
	}
	char *reason = strstr(line, "cannot be preloaded (");
	char *end = reason == NULL ? NULL : strrchr(reason, ')');
	if (end != NULL) {
		reason += strlen("cannot be preloaded (");
		rehearsal->complaint = format_text("%.*s", (int)(end - reason), reason);
	} else {
		rehearsal->complaint = copy_text(line);
	}
}

static void output_read(struct rehearsal *rehearsal, FILE *output, const char *library)
{
	char *line = NULL;
	size_t capacity = 0;

	while (getline(&line, &capacity, output) > 0) {
		if (line[0] == '\t')
			object_line(rehearsal, line, library);
		else
			complaint_line(rehearsal, line, library);
	}
	free(line);
}

struct rehearsal rehearse(const struct program *program, const char *preload, const char *library)
{
	struct rehearsal rehearsal = { 0 };
	int ends[2];

	if (program->elf.interpreter == NULL || !loader_is_known(program->elf.interpreter) || pipe(ends) != 0)
		return rehearsal;
	pid_t child = fork();
	if (child == 0)
		loader_start(program, preload, ends[1]);
	close(ends[1]);
	FILE *output = fdopen(ends[0], "r");
	if (output != NULL) {
		output_read(&rehearsal, output, library);
		fclose(output);
	} else {
		close(ends[0]);
	}
	int status = 0;
	bool ended = child > 0 && waitpid(child, &status, 0) == child;
	rehearsal.held = ended && (rehearsal.object_count > 0 || rehearsal.complaint != NULL || WIFSIGNALED(status));
	if (ended && WIFSIGNALED(status) && rehearsal.complaint == NULL)
		rehearsal.complaint = format_text("it dies of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return rehearsal;
}

void rehearsal_free(struct rehearsal *rehearsal)
{
	for (size_t i = 0; i < rehearsal->object_count; i++)
		free(rehearsal->objects[i]);
	free(rehearsal->objects);
	free(rehearsal->complaint);
}

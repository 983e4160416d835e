/* Follows a command's name to the ELF file that will run: see program.h. */
#include "tools/program.h"

#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/command.h"

/* The kernel's limits: how much of a script it reads, and how many interpreters may be scripts themselves. */
#define SCRIPT_HEAD_BYTES 256
#define SCRIPT_DEPTH_MAX 5

/* ---- PATH ---- */

/* 0 if the file could be executed, else the errno. */
static int executable(const char *path)
{
	struct stat status;

	if (stat(path, &status) != 0)
		return errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

/* Where execvp finds `name`: 0 and *path, or the errno it ends with. */
static int path_search(const char *name, char **path)
{
	const char *list = getenv("PATH");
	int result = ENOENT;

	for (const char *part = list != NULL ? list : _PATH_DEFPATH; part != NULL && *name != 0;) {
		size_t length = strcspn(part, ":");
		char *candidate = length == 0 ? format_text("./%s", name) : format_text("%.*s/%s", (int)length, part, name);
		int error = executable(candidate);
		if (error == 0) {
			*path = candidate;
			return 0;
		}
		free(candidate);
		if (error != ENOENT && error != ENOTDIR)
			result = error;
		part = part[length] == ':' ? part + length + 1 : NULL;
	}
	return result;
}

/* 0 and *path, or the errno. */
static int locate(const char *name, char **path)
{
	if (strchr(name, '/') == NULL)
		return path_search(name, path);
	int error = executable(name);
	if (error == 0)
		*path = copy_text(name);
	return error;
}

/* ---- Scripts ---- */

struct script {
	char head[SCRIPT_HEAD_BYTES];
	char *interpreter;           /* in `head` */
	char *argument;              /* in `head`: all the rest of the line; NULL if there is none */
};

/* Whether the file begins with a "#!" line. */
static bool script_read(struct script *script, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? -1 : read(file, script->head, sizeof(script->head) - 1);

	if (file >= 0)
		close(file);
	if (length < 3 || memcmp(script->head, "#!", 2) != 0)
		return false;
	script->head[length] = 0;
	char *end = script->head + strcspn(script->head, "\n");
	while (end > script->head + 2 && strchr(" \t\r", end[-1]) != NULL)
		end--;
	*end = 0;
	script->interpreter = script->head + 2 + strspn(script->head + 2, " \t");
	char *blank = script->interpreter + strcspn(script->interpreter, " \t");
	script->argument = *blank == 0 ? NULL : blank + 1 + strspn(blank + 1, " \t");
	*blank = 0;
	return *script->interpreter != 0;
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* One word of env's options, e.g. -iS or -uNAME. The value of -u, -C or -S is what follows in the word; where nothing
 * follows, of -u and -C the next word. Returns what follows -S: the first of env's split words; NULL if it isn't there. */
static char *env_short_options(char *word, char **rest, bool *clears)
{
	for (char *letter = word + 1; *letter != 0; letter++) {
		if (*letter == 'S')
			return letter + 1;
		*clears |= *letter == 'i';
		if (*letter == 'u' || *letter == 'C') {
			const char *value = letter[1] != 0 ? letter + 1 : strsep(rest, " \t");
			*clears |= *letter == 'u' && value != NULL && strcmp(value, "LD_PRELOAD") == 0;
			return NULL;
		}
	}
	return NULL;
}

/* The program that `env ARGUMENT SCRIPT` starts, NULL if it can't be told; *clears if LD_PRELOAD doesn't get there.
 * The kernel hands all of ARGUMENT over as one word, which env takes apart only if told to by -S. */
static const char *env_program(char *argument, bool *clears)
{
	char *rest = argument;

	if (*argument != '-')
		return strchr(argument, '=') == NULL ? argument : NULL;
	for (char *word; (word = strsep(&rest, " \t")) != NULL;) {
		if (begins_with(word, "--split-string="))
			word += strlen("--split-string=");
		*clears |= strcmp(word, "-") == 0 || strcmp(word, "--ignore-environment") == 0 ||
		           strcmp(word, "--unset=LD_PRELOAD") == 0;
		if (word[0] == '-' && word[1] != '-')
			word = env_short_options(word, &rest, clears);
		if (word == NULL || *word == 0 || *word == '-')
			continue;
		*clears |= begins_with(word, "LD_PRELOAD=");
		if (strchr(word, '=') == NULL)
			return word;
	}
	return NULL;
}

/* The next file to look at: what runs the script `path`. NULL with the errno and *fault, or with errno 0 if `path`
 * runs as it is. */
static char *interpreter_of(struct program *program, const char *path, char **fault)
{
	struct script script;
	char *found = NULL;
	bool clears = false;
	const char *name;

	errno = 0;
	if (!script_read(&script, path))
		return NULL;
	name = script.interpreter;
	int error = executable(name);
	if (error == 0 && strcmp(last_part(name), "env") == 0 && script.argument != NULL) {
		const char *wanted = env_program(script.argument, &clears);
		name = wanted != NULL ? wanted : name;
		error = locate(name, &found);
	} else if (error == 0) {
		found = strchr(name, '/') == NULL ? format_text("./%s", name) : copy_text(name);
	}
	if (clears && program->obstacle == NULL)
		program->obstacle = format_text("the first line of %s has env remove LD_PRELOAD", path);
	if (error != 0)
		*fault = format_text("%s: its interpreter %s: %s", path, name, strerror(error));
	errno = error;
	return found;
}

/* Goes from script to interpreter until an ELF file is reached: 0, or an errno. */
static int scripts_follow(struct program *program, char **fault)
{
	program->binary = copy_text(program->path);
	for (unsigned depth = 0; depth <= SCRIPT_DEPTH_MAX; depth++) {
		int result = elf_open(&program->elf, program->binary);
		if (result != -ENOEXEC)
			return 0;
		char *next = interpreter_of(program, program->binary, fault);
		if (next == NULL && errno != 0)
			return errno;
		/* Neither ELF nor "#!": execvp hands it to the shell. */
		if (next == NULL)
			next = copy_text(_PATH_BSHELL);
		free(program->binary);
		program->binary = next;
	}
	*fault = format_text("%s: %s", program->path, strerror(ELOOP));
	return ELOOP;
}

/* The loader that the kernel starts for the binary must exist. */
static int loader_check(const struct program *program, char **fault)
{
	const char *loader = program->elf.interpreter;
	int error = loader == NULL ? 0 : executable(loader);

	if (error != 0)
		*fault = format_text("%s: its loader %s: %s", program->binary, loader, strerror(error));
	return error;
}

int program_find(struct program *program, const char *name, char **fault)
{
	*program = (struct program){ 0 };
	*fault = NULL;
	int error = locate(name, &program->path);
	if (error != 0) {
		*fault = format_text("%s: %s", name, error == ENOENT && strchr(name, '/') == NULL ? "not found in PATH"
		                                                                                   : strerror(error));
		return error;
	}
	error = scripts_follow(program, fault);
	return error != 0 ? error : loader_check(program, fault);
}

void program_free(struct program *program)
{
	free(program->path);
	free(program->binary);
	free(program->obstacle);
	elf_close(&program->elf);
}

/* ---- Privileges, by the rules of the kernel's cap_bprm_creds_from_file ---- */

const char *program_privilege(const struct program *program)
{
	struct stat status;
	struct statvfs system;

	if (geteuid() != getuid() || getegid() != getgid())
		return "it is started with effective ids that are not the real ones";
	if (stat(program->binary, &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
	    (statvfs(program->binary, &system) == 0 && (system.f_flag & ST_NOSUID) != 0))
		return NULL;
	if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid())
		return "it is setuid";
	if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 && status.st_gid != getgid())
		return "it is setgid";
	if (getuid() != 0 && getxattr(program->binary, "security.capability", NULL, 0) > 0)
		return "it has file capabilities";
	return NULL;
}

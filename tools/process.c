/* Reads a process's maps, environment and privileges: see process.h. */
#include "tools/process.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/config.h"
#include "tools/allocators.h"
#include "tools/command.h"
#include "tools/preload.h"

/* A file that the process has mapped as code. */
struct object {
	char *name;                  /* as the process sees it */
	struct elf_file elf;         /* closed if it can't be read any more */
};

struct process {
	long pid;
	char *program;               /* what /proc/PID/exe points to */
	struct object *objects;
	size_t object_count;
	char *environment;           /* as at its start: NAME=VALUE, each ended by a 0, and one more 0 */
	bool secure;                 /* AT_SECURE */
};

/* ---- Reading /proc ---- */

static char *proc_path(const struct process *process, const char *file)
{
	return format_text("/proc/%ld/%s", process->pid, file);
}

static int proc_complain(const char *path, int error)
{
	complain("%s: %s", path, error == ENOENT || error == ESRCH ? "no such process, or none with a program" : strerror(error));
	return -1;
}

/* All of the file, of a larger one more than `most` bytes, with a 0 behind it; NULL and errno if it can't be read. `path` is
 * freed. */
static char *read_whole(char *path, size_t most, size_t *length)
{
	FILE *file = fopen(path, "re");
	char *bytes = NULL;
	size_t capacity = 0, count;

	free(path);
	*length = 0;
	if (file == NULL)
		return NULL;
	do {
		capacity = capacity == 0 ? 4096 : capacity * 2;
		bytes = resize_array(bytes, capacity, 1);
		count = fread(bytes + *length, 1, capacity - 1 - *length, file);
		*length += count;
	} while (count > 0 && *length <= most);
	bytes[*length] = 0;
	fclose(file);
	return bytes;
}

static char *proc_read(const struct process *process, const char *name, size_t *length)
{
	return read_whole(proc_path(process, name), SIZE_MAX, length);
}

static int program_read(struct process *process)
{
	char *link = proc_path(process, "exe");
	char target[4096];
	ssize_t length = readlink(link, target, sizeof(target) - 1);
	int result = length < 0 ? proc_complain(link, errno) : 0;

	if (result == 0) {
		target[length] = 0;
		process->program = copy_text(target);
	}
	free(link);
	return result;
}

/* First by the mapping, which leads to the very file even if it was replaced; then by name in the process's root. */
static void object_open(const struct process *process, struct object *object, const char *range)
{
	char *mapped = format_text("/proc/%ld/map_files/%s", process->pid, range);
	char *rooted = format_text("/proc/%ld/root%s", process->pid, object->name);

	if (elf_open(&object->elf, mapped) != 0 && elf_open(&object->elf, rooted) != 0)
		elf_open(&object->elf, object->name);
	free(mapped);
	free(rooted);
}

static bool is_known(const struct process *process, const char *name)
{
	for (size_t i = 0; i < process->object_count; i++)
		if (strcmp(process->objects[i].name, name) == 0)
			return true;
	return false;
}

/* "55d0-55d1 r-xp 00000000 fe:00 1234    /usr/bin/x (deleted)" */
static void map_line(struct process *process, char *line)
{
	static const char deleted[] = " (deleted)";
	char range[64], rights[8];
	unsigned long inode;
	int name_at = 0;

	if (sscanf(line, "%63s %7s %*s %*s %lu %n", range, rights, &inode, &name_at) != 3 || name_at == 0 ||
	    line[name_at] != '/' || rights[2] != 'x')
		return;
	char *name = line + name_at;
	size_t length = strlen(name);
	if (length > strlen(deleted) && strcmp(name + length - strlen(deleted), deleted) == 0)
		name[length - strlen(deleted)] = 0;
	if (is_known(process, name))
		return;
	process->objects = resize_array(process->objects, process->object_count + 1, sizeof(struct object));
	struct object *object = &process->objects[process->object_count++];
	*object = (struct object){ .name = copy_text(name) };
	object_open(process, object, range);
}

static int maps_read(struct process *process)
{
	size_t length;
	char *maps = proc_read(process, "maps", &length);
	char *rest = maps;

	if (maps == NULL) {
		char *path = proc_path(process, "maps");
		proc_complain(path, errno);
		free(path);
		return -1;
	}
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		map_line(process, line);
	free(maps);
	return 0;
}

static const struct object *program_object(const struct process *process)
{
	for (size_t i = 0; i < process->object_count; i++)
		if (strcmp(process->objects[i].name, process->program) == 0)
			return &process->objects[i];
	return NULL;
}

/* The process's own words: 32 bits each in a process of 32 bits. */
static void privileges_read(struct process *process)
{
	const struct object *program = program_object(process);
	bool narrow = program != NULL && program->elf.class == ELFCLASS32;
	size_t word = narrow ? sizeof(uint32_t) : sizeof(uint64_t);
	size_t length;
	char *bytes = proc_read(process, "auxv", &length);

	for (size_t at = 0; bytes != NULL && at + 2 * word <= length; at += 2 * word) {
		uint64_t type = narrow ? *(uint32_t *)(bytes + at) : *(uint64_t *)(bytes + at);
		uint64_t value = narrow ? *(uint32_t *)(bytes + at + word) : *(uint64_t *)(bytes + at + word);
		if (type == AT_SECURE)
			process->secure = value != 0;
	}
	free(bytes);
}

static int process_read(struct process *process)
{
	size_t length;

	if (program_read(process) != 0 || maps_read(process) != 0)
		return -1;
	process->environment = proc_read(process, "environ", &length);
	if (process->environment != NULL) {
		process->environment = resize_array(process->environment, length + 2, 1);
		process->environment[length + 1] = 0;
	}
	privileges_read(process);
	return 0;
}

static void process_free(struct process *process)
{
	for (size_t i = 0; i < process->object_count; i++) {
		free(process->objects[i].name);
		elf_close(&process->objects[i].elf);
	}
	free(process->objects);
	free(process->environment);
	free(process->program);
}

static const char *environment_value(const struct process *process, const char *name)
{
	size_t length = strlen(name);

	for (const char *entry = process->environment; entry != NULL && *entry != 0; entry += strlen(entry) + 1)
		if (strncmp(entry, name, length) == 0 && entry[length] == '=')
			return entry + length + 1;
	return NULL;
}

/* ---- Judging ---- */

static const struct object *quarry_object(const struct process *process)
{
	for (size_t i = 0; i < process->object_count; i++)
		if (allocator_is_quarry(&process->objects[i].elf, process->objects[i].name))
			return &process->objects[i];
	return NULL;
}

/* Where LD_PRELOAD names the object; behind everything if it doesn't: such objects come later in the search. */
static size_t preload_place(const struct process *process, const struct object *object)
{
	const char *list = environment_value(process, "LD_PRELOAD");
	char *stem = copy_text(last_part(object->name));
	char *suffix = strstr(stem, ".so");

	if (suffix != NULL)
		*suffix = 0;
	const char *found = list == NULL || process->secure ? NULL : strstr(list, stem);
	free(stem);
	return found == NULL ? SIZE_MAX : (size_t)(found - list);
}

/* Why Quarry isn't in a process that it isn't mapped into. */
static char *absence_reason(const struct process *process)
{
	const char *preload = environment_value(process, "LD_PRELOAD");
	const struct object *object = program_object(process);

	if (process->environment == NULL)
		return copy_text("no part of it is mapped (the environment can't be read)");
	if (preload == NULL || strstr(preload, "libquarry") == NULL)
		return copy_text("the process was started without it: LD_PRELOAD does not name it, the program is not linked with it");
	if (process->secure)
		return copy_text("the program gained privileges when it was started, where the loader ignores LD_PRELOAD");
	if (object == NULL || object->elf.bytes == NULL)
		return format_text("LD_PRELOAD=%s had no effect", preload);
	struct program program = { .path = process->program, .binary = process->program, .elf = object->elf };
	char *file = format_text("%.*s", (int)strcspn(preload, ": "), preload);
	struct elf_file library;
	int error = elf_open(&library, file);
	char *reason = preload_obstacle(&program, &library);
	if (reason == NULL && error != 0)
		reason = format_text("LD_PRELOAD names %s, which can't be loaded: %s", file,
		                     error == -ENOEXEC ? "no ELF file" : strerror(-error));
	if (reason == NULL)
		reason = format_text("LD_PRELOAD=%s had no effect; a security profile may forbid it", preload);
	elf_close(&library);
	free(file);
	return reason;
}

static void others_diagnose(struct diagnosis *diagnosis, const struct process *process, const struct object *quarry)
{
	const struct object *program = program_object(process);

	for (size_t i = 0; i < process->object_count; i++) {
		const struct object *object = &process->objects[i];
		char *words = allocator_in(&object->elf, object->name);
		if (words == NULL)
			continue;
		diagnosis_remark(diagnosis, format_text("%s: brings its own allocator (%s)", object->name, words));
		free(words);
		if (quarry == NULL)
			continue;
		bool comes_first = object == program || preload_place(process, object) < preload_place(process, quarry);
		if (comes_first && elf_exports(&object->elf, "malloc"))
			diagnosis_worsen(diagnosis, VERDICT_ABSENT,
			                 format_text("%s is mapped, but the malloc of %s comes first", quarry->name, object->name));
		else
			diagnosis_worsen(diagnosis, VERDICT_PARTIAL,
			                 format_text("%s is mapped, and so are objects with allocators of their own", quarry->name));
	}
}

/* ---- Options ---- */

/* One remark per line of the text, without the lines' common prefix. */
static void lines_remark(struct diagnosis *diagnosis, char *text, const char *prefix)
{
	for (char *line; (line = strsep(&text, "\n")) != NULL && text != NULL;) {
		bool prefixed = strncmp(line, prefix, strlen(prefix)) == 0;
		diagnosis_remark(diagnosis, format_text("option %s", prefixed ? line + strlen(prefix) : line));
	}
}

/* As the process would find it. */
static void config_add(struct options *options, const struct config_file *file, const struct process *process,
                       struct text *text)
{
	bool absolute = file->path[0] == '/';
	size_t length;
	char *content = read_whole(format_text("/proc/%ld/%s/%s", process->pid, absolute ? "root" : "cwd", file->path),
	                           CONFIG_BYTES_MAX, &length);

	if (content == NULL)
		config_unread(file, errno, text);
	else if (length > CONFIG_BYTES_MAX)
		config_unread(file, EFBIG, text);
	else
		config_parse(options, content, length, process->program, file, text);
	free(content);
}

static void configs_add(struct options *options, const struct process *process, struct text *text)
{
	char path[PATH_MAX];
	struct config_file files[2];
	const struct config_environment environment = {
		.secure = process->secure,
		.named = environment_value(process, "QUARRY_CONFIG"),
		.configuration = environment_value(process, "XDG_CONFIG_HOME"),
		.home = environment_value(process, "HOME"),
	};
	size_t count = config_files(&environment, files, path, sizeof(path));

	for (size_t i = 0; i < count; i++)
		config_add(options, &files[i], process, text);
}

/* What the library has read at the start of the process: the same strings, and what the same files say now, through the
 * same parser. */
static void options_remark(struct diagnosis *diagnosis, const struct process *process)
{
	const struct object *program = program_object(process);
	char buffer[8192];
	struct text text = text_over(buffer, sizeof(buffer));
	struct options options;

	options_reset(&options);
	if (program != NULL)
		options_parse(&options, elf_exported_text(&program->elf, "quarry_options"), OPTION_FROM_PROGRAM, &text);
	configs_add(&options, process, &text);
	if (!process->secure)
		options_parse(&options, environment_value(process, "QUARRY_OPTIONS"), OPTION_FROM_ENVIRONMENT, &text);
	options_confirm_text(&options, &text);
	lines_remark(diagnosis, buffer, "quarry: ");
}

int process_diagnose(struct diagnosis *diagnosis, long pid)
{
	struct process process = { .pid = pid };
	int result = process_read(&process);

	if (result == 0) {
		const struct object *quarry = quarry_object(&process);
		if (quarry == NULL)
			diagnosis_worsen(diagnosis, VERDICT_ABSENT, absence_reason(&process));
		else
			diagnosis_worsen(diagnosis, VERDICT_ACTIVE,
			                 format_text("%s is mapped in process %ld (%s)", quarry->name, pid, process.program));
		others_diagnose(diagnosis, &process, quarry);
		if (diagnosis->verdict != VERDICT_ABSENT)
			options_remark(diagnosis, &process);
	}
	process_free(&process);
	return result;
}

/* Where libquarry.so may be, in order: see library.h. */
#include "tools/library.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/command.h"

/* Where `make install` puts the library. */
#ifndef QUARRY_LIBDIR
#define QUARRY_LIBDIR "/usr/local/lib"
#endif

/* Installed without the files for development, only the first is there. */
static const char *const names[] = { "libquarry.so.0", "libquarry.so" };

struct search {
	const struct elf_file *program;
	char *match;         /* for the program's machine */
	char *other;         /* the first that is there, for whatever machine */
	char *tried;         /* "A, B, C" */
};

static void candidate_look(struct search *search, const char *path)
{
	struct elf_file elf;

	if (search->match != NULL || elf_open(&elf, path) != 0)
		return;
	if (search->program->bytes == NULL ||
	    (elf.class == search->program->class && elf.machine == search->program->machine))
		search->match = whole_path(path);
	else if (search->other == NULL)
		search->other = whole_path(path);
	elf_close(&elf);
}

/* `pattern` is for glob(3). */
static void place_look(struct search *search, const char *pattern)
{
	char *tried = search->tried == NULL ? copy_text(pattern) : format_text("%s, %s", search->tried, pattern);
	glob_t found;

	free(search->tried);
	search->tried = tried;
	if (glob(pattern, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc; i++)
			candidate_look(search, found.gl_pathv[i]);
		globfree(&found);
	}
}

static void folder_look(struct search *search, const char *folder, const char *below)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char *pattern = format_text("%s%s/%s", folder, below, names[i]);
		place_look(search, pattern);
		free(pattern);
	}
}

/* The folder of this command's own file, NULL if that can't be told. */
static char *own_folder(void)
{
	char *folder = realpath("/proc/self/exe", NULL);
	char *slash = folder == NULL ? NULL : strrchr(folder, '/');

	if (slash != NULL)
		*slash = 0;
	return folder;
}

static void own_folder_look(struct search *search)
{
	char *folder = own_folder();

	if (folder == NULL)
		return;
	folder_look(search, folder, "/../lib*");
	folder_look(search, folder, "/../lib/*-linux-*");
	/* A build tree: libtool keeps shared libraries, and programs linked with them, in .libs. */
	if (strcmp(last_part(folder), ".libs") == 0)
		folder_look(search, folder, "");
	folder_look(search, folder, "/.libs");
	folder_look(search, folder, "/../.libs");
	free(folder);
}

static char *explicit_look(const char *what, const char *path, char **fault)
{
	struct elf_file elf;
	int error = elf_open(&elf, path);

	if (error != 0) {
		*fault = format_text("%s %s: %s", what, path,
		                     error == -ENOEXEC ? "not a shared library" : strerror(-error));
		return NULL;
	}
	bool is_library = elf.type == ET_DYN;
	elf_close(&elf);
	if (!is_library) {
		*fault = format_text("%s %s: not a shared library", what, path);
		return NULL;
	}
	return whole_path(path);
}

char *library_find(const char *explicit_path, const struct elf_file *program, char **fault)
{
	struct search search = { .program = program };
	const char *from_environment = getenv("QUARRY_LIB");

	*fault = NULL;
	if (explicit_path != NULL)
		return explicit_look("--lib", explicit_path, fault);
	if (from_environment != NULL && *from_environment != 0)
		return explicit_look("QUARRY_LIB:", from_environment, fault);
	own_folder_look(&search);
	folder_look(&search, QUARRY_LIBDIR, "");
	if (search.match == NULL && search.other == NULL)
		*fault = format_text("libquarry.so not found; neither --lib nor QUARRY_LIB is given; tried: %s", search.tried);
	free(search.tried);
	if (search.match == NULL)
		return search.other;
	free(search.other);
	return search.match;
}

/* Libraries that are opened while the program runs. `open MODE PATH...` prints "good". */
#include <dlfcn.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quarry/quarry.h"

static void complain(const char *what)
{
	const char *why = dlerror();

	printf("%s: %s\n", what, why != NULL ? why : "");
	exit(2);
}

static void *symbol(void *library, const char *name)
{
	void *address = dlsym(library, name);

	if (address == NULL)
		complain(name);
	return address;
}

static void *open_or_complain(const char *path, int mode)
{
	void *library = dlopen(path, mode);

	if (library == NULL)
		complain(path);
	return library;
}

/* PATHS: libraries with thread-local storage of the initial-exec kind, then libquarry.so, which is not preloaded. */
static void late(char **paths)
{
	for (; paths[1] != NULL; paths++)
		open_or_complain(*paths, RTLD_NOW);
	for (int i = 0; i < 50; i++) {
		void *quarry = open_or_complain(*paths, RTLD_NOW | RTLD_LOCAL);
		void *(*take)(size_t) = (void *(*)(size_t))symbol(quarry, "quarry_malloc");
		void (*give)(void *) = (void (*)(void *))symbol(quarry, "quarry_free");
		void (*give_any)(void *) = (void (*)(void *))symbol(quarry, "free");
		struct quarry_description (*describe)(const void *) =
			(struct quarry_description (*)(const void *))symbol(quarry, "quarry_describe");
		char *ours = take(1000), *large = take(1000000), *theirs = malloc(100);
		if (describe(ours).kind != QUARRY_LIVE || describe(theirs).kind != QUARRY_FOREIGN)
			complain("whose block");
		memset(ours, 1, 1000);
		memset(large, 1, 1000000);
		give(ours);
		give_any(large);
		give_any(theirs);               /* goes to libc */
		dlclose(quarry);
	}
}

static bool is_ours(const void *block)
{
	static struct quarry_description (*describe)(const void *);

	if (describe == NULL)
		*(void **)&describe = symbol(RTLD_DEFAULT, "quarry_describe");
	return describe(block).kind == QUARRY_LIVE;
}

/* PATHS: the library deep.c. Blocks go both ways. */
static void deep(char **paths, bool kept)
{
	void *library = open_or_complain(paths[0], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	char *(*copy)(const char *) = (char *(*)(const char *))symbol(library, "deep_copy");
	char *(*duplicate)(const char *) = (char *(*)(const char *))symbol(library, "deep_strdup");
	void (*drop)(void *) = (void (*)(void *))symbol(library, "deep_drop");
	void *(*grow)(void *, size_t) = (void *(*)(void *, size_t))symbol(library, "deep_grow");

	for (int i = 0; i < 1000; i++) {
		char *theirs = copy("from the library");
		if (is_ours(theirs) == kept)
			complain("whose block");
		if (malloc_usable_size(theirs) < 17)
			complain("malloc_usable_size");
		theirs = realloc(theirs, 5000);
		if (theirs == NULL || strcmp(theirs, "from the library") != 0)
			complain("realloc");
		free(theirs);
		free(copy("again"));
		drop(copy("its own"));
		if (!kept) {
			char *ours = strdup("from the program");
			ours = grow(ours, 10000);
			if (ours == NULL || strcmp(ours, "from the program") != 0)
				complain("the library's realloc");
			drop(ours);
			free(duplicate("by the C library"));
			drop(duplicate("by the C library"));
		}
	}
}

/* PATHS: a library with a run path that opens another one by its bare name. */
static void run_path(char **paths)
{
	int (*answer)(void) = (int (*)(void))symbol(open_or_complain(paths[0], RTLD_NOW), "answer");

	if (answer() != 42)
		complain("answer");
}

/* PATHS: a library for a name space of its own. */
static void name_space(char **paths)
{
	void *library = dlmopen(LM_ID_NEWLM, paths[0], RTLD_NOW);

	if (library == NULL)
		complain("dlmopen");
	char *(*copy)(const char *) = (char *(*)(const char *))symbol(library, "deep_copy");
	void (*drop)(void *) = (void (*)(void *))symbol(library, "deep_drop");
	Lmid_t there;
	if (dlinfo(library, RTLD_DI_LMID, &there) != 0 || there == LM_ID_BASE)
		complain("dlinfo");
	drop(copy("its own"));
	dlclose(library);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";

	if (strcmp(mode, "late") == 0)
		late(argv + 2);
	else if (strcmp(mode, "deep") == 0)
		deep(argv + 2, false);
	else if (strcmp(mode, "deep-kept") == 0)
		deep(argv + 2, true);
	else if (strcmp(mode, "run-path") == 0)
		run_path(argv + 2);
	else if (strcmp(mode, "name-space") == 0)
		name_space(argv + 2);
	else
		return 127;
	printf("good\n");
	return 0;
}

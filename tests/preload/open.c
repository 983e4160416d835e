/* Libraries that are opened while the program runs. `open MODE PATH...` prints "good". */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
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

struct calls {
	void *(*take)(size_t);
	void (*give)(void *);
	void (*give_any)(void *);
	struct quarry_description (*describe)(const void *);
};

static struct calls calls_of(void *quarry)
{
	return (struct calls){
		.take = (void *(*)(size_t))symbol(quarry, "quarry_malloc"),
		.give = (void (*)(void *))symbol(quarry, "quarry_free"),
		.give_any = (void (*)(void *))symbol(quarry, "free"),
		.describe = (struct quarry_description (*)(const void *))symbol(quarry, "quarry_describe"),
	};
}

/* A thread that outlives the handles through which it got its blocks: it frees them after the last dlclose, allocates
 * more, and ends. */
struct survivor {
	pthread_t thread;
	struct calls calls;
	pthread_barrier_t *closed;
};

#define SURVIVORS 4

static void *survive(void *argument)
{
	struct survivor *self = argument;
	char *blocks[500];

	for (size_t i = 0; i < 500; i++)
		memset(blocks[i] = self->calls.take(i * 40 + 1), 3, i * 40 + 1);
	pthread_barrier_wait(self->closed);
	pthread_barrier_wait(self->closed);
	for (size_t i = 0; i < 500; i++) {
		if (blocks[i][i * 40] != 3)
			complain("a survivor's block");
		self->calls.give(blocks[i]);
		self->calls.give(self->calls.take(i * 100));
	}
	return NULL;
}

static void use(struct calls calls, bool own_malloc)
{
	char *ours = calls.take(1000), *large = calls.take(1000000), *theirs = malloc(100);

	if (calls.describe(ours).kind != QUARRY_LIVE || calls.describe(theirs).kind != QUARRY_FOREIGN)
		complain("whose block");
	memset(ours, 1, 1000);
	memset(large, 1, 1000000);
	calls.give(ours);
	calls.give_any(large);
	if (own_malloc)
		free(theirs);
	else
		calls.give_any(theirs);         /* goes to libc */
}

/* PATHS: libraries with thread-local storage of the initial-exec kind, then libquarry.so, which is not preloaded; or a
 * copy of it, while another one is preloaded. */
static void late(char **paths, int mode, bool own_malloc)
{
	struct survivor survivors[SURVIVORS];
	pthread_barrier_t closed;

	pthread_barrier_init(&closed, NULL, SURVIVORS + 1);
	for (; paths[1] != NULL; paths++)
		open_or_complain(*paths, RTLD_NOW);
	for (size_t i = 0; i < 50; i++) {
		void *quarry = open_or_complain(*paths, RTLD_NOW | RTLD_LOCAL | mode);
		use(calls_of(quarry), own_malloc);
		if (i < SURVIVORS) {
			survivors[i] = (struct survivor){ .calls = calls_of(quarry), .closed = &closed };
			pthread_create(&survivors[i].thread, NULL, survive, &survivors[i]);
		}
		if (i == SURVIVORS)
			pthread_barrier_wait(&closed);
		dlclose(quarry);
	}
	pthread_barrier_wait(&closed);
	for (size_t i = 0; i < SURVIVORS; i++)
		pthread_join(survivors[i].thread, NULL);
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
		late(argv + 2, 0, false);
	else if (strcmp(mode, "late-deep") == 0)
		late(argv + 2, RTLD_DEEPBIND, false);
	else if (strcmp(mode, "second") == 0)
		late(argv + 2, 0, true);
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

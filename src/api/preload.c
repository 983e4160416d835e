/* What only the shared library does: it knows the next allocator in line, and keeps libraries that are opened with
 * RTLD_DEEPBIND from freeing our blocks in the C library. Not in libquarry.a. */
#include <dlfcn.h>

#include "api/fast.h"
#include "api/foreign.h"
#include "api/init.h"
#include "block/secure.h"
#include "guard/guarded.h"

#define PUBLIC __attribute__((visibility("default")))

/* musl has neither name spaces nor this mode. */
#ifndef LM_ID_BASE
typedef long Lmid_t;
#endif
#ifndef RTLD_DEEPBIND
#define RTLD_DEEPBIND 0
#endif

typedef void *(*dlopen_function)(const char *file, int mode);
typedef void *(*dlmopen_function)(Lmid_t space, const char *file, int mode);

/* Resolved by the constructor; by the first call where a library's constructor opens others before ours has run. */
static dlopen_function next_dlopen;
static dlmopen_function next_dlmopen;

static dlopen_function resolve_dlopen(void)
{
	if (next_dlopen == NULL)
		next_dlopen = (dlopen_function)dlsym(RTLD_NEXT, "dlopen");
	return next_dlopen;
}

static dlmopen_function resolve_dlmopen(void)
{
	if (next_dlmopen == NULL)
		next_dlmopen = (dlmopen_function)dlsym(RTLD_NEXT, "dlmopen");
	return next_dlmopen;
}

/* Whether the name that everybody finds is ours. */
static bool is_ours(const char *name)
{
	Dl_info found, own;
	void *function = dlsym(RTLD_DEFAULT, name);

	return function != NULL && dladdr(function, &found) != 0 && dladdr((void *)&next_dlopen, &own) != 0 &&
	       found.dli_fbase == own.dli_fbase;
}

/* A program with an operator new of its own, on malloc, still gets our sized delete. */
static void forms_look(void)
{
	if (!is_ours("_Znwm") || !is_ours("_Znam") || !is_ours("_ZdlPv") || !is_ours("_ZdaPv")) {
		guarded_forms_unknown();
		/* What operators of its own ask for is not what ours are told. */
		secure.said = false;
	}
}

#ifdef QUARRY_VALGRIND
#include <link.h>

/* Where the linker puts this object's own. */
extern const ElfW(Ehdr) __ehdr_start HIDDEN;

static void data_are_own(void)
{
	uintptr_t start = (uintptr_t)&__ehdr_start;
	const ElfW(Phdr) *headers = (const ElfW(Phdr) *)(start + __ehdr_start.e_phoff);

	for (size_t i = 0; i < __ehdr_start.e_phnum; i++)
		if (headers[i].p_type == PT_LOAD && (headers[i].p_flags & PF_W) != 0)
			memcheck_own((const void *)(start + headers[i].p_vaddr), headers[i].p_memsz);
}

/* DRD goes through all that is mapped inside of pthread_create byte by byte, and that is where many a program's first
 * malloc is: not our reservation. */
static void valgrind_start(void)
{
	data_are_own();
	fast_release(fast_allocate(1), "free");
}
#else
static void valgrind_start(void) {}
#endif

/* A priority before init.c's constructor, which seals what is set here. */
__attribute__((constructor(101))) static void preload_constructor(void)
{
	struct foreign_next next = {
		.free = (void (*)(void *))dlsym(RTLD_NEXT, "free"),
		.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc"),
		.usable_size = (size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size"),
	};

	init_ensure();
	valgrind_start();
	foreign_set_next(&next);
	resolve_dlopen();
	resolve_dlmopen();
	if (guarded_on || secure.said)
		forms_look();
}

static int mode_allowed(int mode)
{
	init_ensure();
	return sealed.options.deepbind == OPTION_deepbind_mask ? mode & ~RTLD_DEEPBIND : mode;
}

/* The loader looks at the caller's address to find its run path and its name space, so the real function must see our
 * caller: both end in a jump, not a call. The compiler makes one of a call in tail position; that it did is tested
 * (tests/preload/). */
#define TAIL_CALLS __attribute__((optimize("O2", "optimize-sibling-calls")))
#if defined(__clang__)
#undef TAIL_CALLS
#define TAIL_CALLS
#endif

PUBLIC TAIL_CALLS void *dlopen(const char *file, int mode)
{
	int allowed = mode_allowed(mode);
	return resolve_dlopen()(file, allowed);
}

PUBLIC TAIL_CALLS void *dlmopen(Lmid_t space, const char *file, int mode)
{
	int allowed = mode_allowed(mode);
	if (resolve_dlmopen() == NULL)
		return NULL;
	return next_dlmopen(space, file, allowed);
}

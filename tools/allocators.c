/* Recognises other allocators in ELF files: see allocators.h. */
#include "tools/allocators.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"

/* How their libraries' file names begin, and a name that only they define. */
static const struct {
	const char *name;
	const char *file;
	const char *symbol;
} known[] = {
	{ "jemalloc", "libjemalloc", "je_malloc" },
	{ "jemalloc", "libjemalloc", "_rjem_malloc" },
	{ "jemalloc", "libjemalloc", "mallctl" },
	{ "tcmalloc", "libtcmalloc", "tc_malloc" },
	{ "mimalloc", "libmimalloc", "mi_malloc" },
	{ "rpmalloc", "librpmalloc", "rpmalloc" },
	{ "snmalloc", "libsnmalloc", "sn_malloc" },
	{ "scudo", "libscudo", "__scudo_print_stats" },
	{ "scudo", "libclang_rt.scudo", "__scudo_print_stats" },
	{ "Hoard", "libhoard", "xxmalloc" },
	{ "DieHarder", "libdieharder", "xxmalloc" },
	{ "hardened_malloc", "libhardened_malloc", "h_malloc" },
	{ "isoalloc", "libisoalloc", "iso_alloc" },
	{ "TBB's allocator", "libtbbmalloc", "scalable_malloc" },
	{ "a sanitizer", "libasan", "__interceptor_malloc" },
	{ "a sanitizer", "liblsan", "__interceptor_malloc" },
	{ "a sanitizer", "libtsan", "__interceptor_malloc" },
	{ "a sanitizer", "libmsan", "__interceptor_malloc" },
	{ "a sanitizer", "libclang_rt.asan", "__interceptor_malloc" },
	{ "glibc's malloc debugging", "libc_malloc_debug", "mtrace" },
};

/* What replaces the C and C++ libraries' allocation; operator new(size_t) in 64 and 32 bits. */
static const struct {
	const char *symbol;
	const char *name;
} replaced[] = {
	{ "malloc", "malloc" },
	{ "calloc", "calloc" },
	{ "free", "free" },
	{ "_Znwm", "operator new" },
	{ "_Znwj", "operator new" },
};

/* Those whose definitions are meant to be overridden, so that they take nothing away from a preloaded library. */
static const char *const system_objects[] = {
	"libc.so", "libc-2.", "libc.musl", "ld-linux", "ld-2.", "ld-musl", "ld64.so", "ld.so", "libstdc++", "libc++", "libquarry",
};

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool is_system_object(const struct elf_file *elf, const char *file)
{
	const char *soname = elf->bytes == NULL ? NULL : elf_soname(elf);

	for (size_t i = 0; i < sizeof(system_objects) / sizeof(system_objects[0]); i++)
		if (begins_with(file, system_objects[i]) || (soname != NULL && begins_with(soname, system_objects[i])))
			return true;
	return false;
}

static const char *known_name(const struct elf_file *elf, const char *file)
{
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (begins_with(file, known[i].file))
			return known[i].name;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && elf->bytes != NULL; i++)
		if (elf_defines(elf, known[i].symbol))
			return known[i].name;
	return NULL;
}

/* "malloc, free"; NULL if none. */
static char *replaced_names(const struct elf_file *elf)
{
	char *list = NULL;

	for (size_t i = 0; i < sizeof(replaced) / sizeof(replaced[0]) && elf->bytes != NULL; i++) {
		if (!elf_defines(elf, replaced[i].symbol))
			continue;
		char *longer = list == NULL ? copy_text(replaced[i].name) : format_text("%s, %s", list, replaced[i].name);
		free(list);
		list = longer;
	}
	return list;
}

char *allocator_in(const struct elf_file *elf, const char *name)
{
	const char *file = last_part(name);

	if (is_system_object(elf, file) || allocator_is_quarry(elf, name))
		return NULL;
	const char *allocator = known_name(elf, file);
	char *names = replaced_names(elf);
	char *words = NULL;
	if (allocator != NULL && names != NULL)
		words = format_text("%s, defines %s", allocator, names);
	else if (allocator != NULL)
		words = copy_text(allocator);
	else if (names != NULL)
		words = format_text("defines %s", names);
	free(names);
	return words;
}

/* A program that only calls malloc has no quarry_ symbol from the static library, a stripped one no symbol at all; but
 * it reads this variable. The `quarry` command does too, without a malloc. */
bool allocator_is_quarry(const struct elf_file *elf, const char *name)
{
	if (begins_with(last_part(name), "libquarry.so"))
		return true;
	if (elf->bytes == NULL || elf->other_order || !elf_contains(elf, "QUARRY_OPTIONS"))
		return false;
	return elf->interpreter == NULL || elf_defines(elf, "malloc");
}

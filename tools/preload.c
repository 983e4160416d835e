/* Finds what keeps LD_PRELOAD from working, most certain causes first: see preload.h. */
#include "tools/preload.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/allocators.h"
#include "tools/command.h"
#include "tools/rehearsal.h"

char *preload_list(const char *library)
{
	const char *before = getenv("LD_PRELOAD");

	return before == NULL || *before == 0 ? copy_text(library) : format_text("%s:%s", library, before);
}

static unsigned bits_of(const struct elf_file *elf)
{
	return elf->class == ELFCLASS64 ? 64 : 32;
}

/* Built for another machine; NULL if for the same. */
static char *machine_obstacle(const struct elf_file *program, const struct elf_file *library)
{
	if (library->bytes == NULL || (program->class == library->class && program->machine == library->machine &&
	                               program->other_order == library->other_order))
		return NULL;
	char *program_machine = copy_text(elf_machine_name(program));
	char *words = format_text("it is built for %s (%u bits), the library for %s (%u bits)", program_machine,
	                          bits_of(program), elf_machine_name(library), bits_of(library));
	free(program_machine);
	return words;
}

static bool needs_musl(const struct elf_file *elf, bool *needs_any)
{
	const char *name;

	*needs_any = false;
	for (size_t i = 0; (name = elf_needed(elf, i)) != NULL; i++) {
		bool musl = strcmp(name, "libc.so") == 0 || strncmp(name, "libc.musl", 9) == 0;
		*needs_any |= musl || strncmp(name, "libc.so.", 8) == 0;
		if (musl)
			return true;
	}
	return false;
}

/* Built for another C library; NULL if for the same. */
static char *libc_obstacle(const struct elf_file *program, const struct elf_file *library)
{
	bool any;

	if (library->bytes == NULL)
		return NULL;
	bool program_is_musl = strncmp(last_part(program->interpreter), "ld-musl", 7) == 0;
	bool library_is_musl = needs_musl(library, &any);
	if (!any || program_is_musl == library_is_musl)
		return NULL;
	return format_text("it uses %s (loader %s), the library is built for %s", program_is_musl ? "musl" : "glibc",
	                   program->interpreter, library_is_musl ? "musl" : "glibc");
}

/* A sanitizer's runtime has the program's malloc to itself: it ends programs where another library comes first. */
static char *sanitizer_obstacle(const struct elf_file *program)
{
	static const char *const runtimes[] = { "libasan.", "libhwasan.", "liblsan.", "libtsan.", "libclang_rt." };
	const char *name;

	for (size_t i = 0; (name = elf_needed(program, i)) != NULL; i++)
		for (size_t j = 0; j < sizeof(runtimes) / sizeof(runtimes[0]); j++)
			if (strncmp(name, runtimes[j], strlen(runtimes[j])) == 0)
				return format_text("it is built with a sanitizer (%s), which does not stand another malloc", name);
	return NULL;
}

char *preload_obstacle(const struct program *program, const struct elf_file *library)
{
	const struct elf_file *elf = &program->elf;
	const char *privilege = program_privilege(program);

	if (program->obstacle != NULL)
		return copy_text(program->obstacle);
	if (privilege != NULL)
		return format_text("%s, and where privileges are gained the loader ignores LD_PRELOAD", privilege);
	if (elf->bytes == NULL)
		return NULL;
	char *reason = machine_obstacle(elf, library);
	if (reason != NULL || elf->other_order)
		return reason;
	/* The loader itself, started as a program, has no loader either, but does preload. */
	const char *soname = elf_soname(elf);
	if (elf->interpreter == NULL && soname != NULL && strncmp(soname, "ld", 2) == 0)
		return NULL;
	if (elf->interpreter == NULL)
		return copy_text("it is statically linked: no loader runs that could preload anything");
	reason = libc_obstacle(elf, library);
	if (reason == NULL)
		reason = sanitizer_obstacle(elf);
	if (reason == NULL && elf_exports(elf, "malloc"))
		reason = copy_text("it has a malloc of its own, and a program's own definitions come before preloaded ones");
	return reason;
}

/* One remark for each object that brings an allocator. */
static void objects_diagnose(struct diagnosis *diagnosis, const struct program *program, const struct rehearsal *rehearsal)
{
	char *own = allocator_in(&program->elf, program->binary);
	size_t count = 0;

	if (own != NULL) {
		diagnosis_remark(diagnosis, format_text("%s: brings its own allocator (%s)", program->binary, own));
		count++;
	}
	free(own);
	for (size_t i = 0; i < rehearsal->object_count; i++) {
		struct elf_file elf;
		int error = elf_open(&elf, rehearsal->objects[i]);
		char *words = allocator_in(&elf, rehearsal->objects[i]);
		if (words != NULL) {
			diagnosis_remark(diagnosis, format_text("%s: brings its own allocator (%s)", rehearsal->objects[i], words));
			count++;
		}
		free(words);
		if (error == 0)
			elf_close(&elf);
	}
	if (count > 0)
		diagnosis_worsen(diagnosis, VERDICT_PARTIAL,
		                 format_text("%s would run with Quarry, but %zu of its objects bring%s an allocator", program->path,
		                             count, count == 1 ? "s" : ""));
}

static void rehearsal_diagnose(struct diagnosis *diagnosis, const struct program *program, const char *library, bool objects)
{
	char *preload = preload_list(library);
	struct rehearsal rehearsal = rehearse(program, preload, library);

	if (rehearsal.held && !rehearsal.preloaded)
		diagnosis_worsen(diagnosis, VERDICT_ABSENT,
		                 format_text("the loader %s does not take %s: %s", program->elf.interpreter, library,
		                             rehearsal.complaint != NULL ? rehearsal.complaint : "it names no reason"));
	else if (rehearsal.held && rehearsal.complaint != NULL)
		diagnosis_worsen(diagnosis, VERDICT_ABSENT, copy_text(rehearsal.complaint));
	if (objects)
		objects_diagnose(diagnosis, program, &rehearsal);
	rehearsal_free(&rehearsal);
	free(preload);
}

void preload_diagnose(struct diagnosis *diagnosis, const struct program *program, const char *library, bool objects)
{
	struct elf_file elf;
	bool opened = elf_open(&elf, library) == 0;

	if (program->elf.bytes != NULL && allocator_is_quarry(&program->elf, program->binary)) {
		diagnosis_worsen(diagnosis, VERDICT_ACTIVE, format_text("%s has Quarry linked in", program->path));
	} else {
		char *reason = preload_obstacle(program, &elf);
		if (reason != NULL && program->obstacle == NULL && strcmp(program->path, program->binary) != 0)
			diagnosis_worsen(diagnosis, VERDICT_ABSENT, format_text("its interpreter %s: %s", program->binary, reason));
		else if (reason != NULL)
			diagnosis_worsen(diagnosis, VERDICT_ABSENT, copy_text(reason));
		free(reason);
		if (program->elf.bytes == NULL)
			diagnosis_remark(diagnosis, format_text("%s can't be read, so nothing certain is known", program->binary));
	}
	if (diagnosis->verdict != VERDICT_ABSENT)
		rehearsal_diagnose(diagnosis, program, library, objects);
	diagnosis_worsen(diagnosis, VERDICT_ACTIVE, format_text("%s would run with Quarry (%s)", program->path, library));
	if (opened)
		elf_close(&elf);
}

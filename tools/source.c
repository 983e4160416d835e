/* Functions and lines: see source.h. */
#include "tools/source.h"

#include <stdlib.h>
#include <string.h>

#include "tools/command.h"

void source_frames_free(struct source_frames *frames)
{
	for (size_t i = 0; i < frames->count; i++) {
		free(frames->frames[i].function);
		free(frames->frames[i].file);
	}
	free(frames->frames);
	*frames = (struct source_frames){ 0 };
}

#ifdef QUARRY_LIBDW

#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>

/* ---- Modules: each file is opened once ---- */

struct module {
	char *path;
	Dwfl_Module *module;         /* NULL: it can't be read */
};

static Dwfl *session;
static struct module *modules;
static size_t module_count;

static Dwfl_Module *module_open(const char *path)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};

	for (size_t i = 0; i < module_count; i++)
		if (strcmp(modules[i].path, path) == 0)
			return modules[i].module;
	if (session == NULL)
		session = dwfl_begin(&callbacks);
	if (session == NULL)
		return NULL;
	dwfl_report_begin_add(session);
	Dwfl_Module *module = dwfl_report_offline(session, path, path, -1);
	dwfl_report_end(session, NULL, NULL);
	modules = resize_array(modules, module_count + 1, sizeof(*modules));
	modules[module_count++] = (struct module){ copy_text(path), module };
	return module;
}

static bool has_build_id(Dwfl_Module *module, const char *build_id)
{
	const unsigned char *bits;
	GElf_Addr address;
	GElf_Addr bias;

	/* Read with the file's other tables. */
	dwfl_module_getelf(module, &bias);
	int bytes = dwfl_module_build_id(module, &bits, &address);
	if (*build_id == 0 || bytes <= 0)
		return true;
	for (int i = 0; i < bytes; i++) {
		char digits[3] = { "0123456789abcdef"[bits[i] >> 4], "0123456789abcdef"[bits[i] & 15], 0 };
		if (strncmp(build_id + 2 * i, digits, 2) != 0)
			return false;
	}
	return true;
}

/* ---- Names ---- */

/* C++ names as people write them, if the machine has the C++ library. */
static char *readable(const char *name)
{
	static char *(*demangle)(const char *, char *, size_t *, int *);
	static bool asked;

	if (!asked) {
		void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
		asked = true;
		if (library != NULL)
			demangle = (char *(*)(const char *, char *, size_t *, int *))dlsym(library, "__cxa_demangle");
	}
	int status = -1;
	char *words = demangle != NULL && strncmp(name, "_Z", 2) == 0 ? demangle(name, NULL, NULL, &status) : NULL;
	return words != NULL && status == 0 ? words : copy_text(name);
}

static const char *attribute_text(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;

	return dwarf_formstring(dwarf_attr_integrate(die, name, &attribute));
}

static char *function_name(Dwarf_Die *die)
{
	const char *name = attribute_text(die, DW_AT_linkage_name);

	if (name == NULL)
		name = attribute_text(die, DW_AT_name);
	return name != NULL ? readable(name) : NULL;
}

/* ---- Frames ---- */

static void frame_add(struct source_frames *frames, char *function, const char *file, int line, bool inlined)
{
	frames->frames = resize_array(frames->frames, frames->count + 1, sizeof(*frames->frames));
	frames->frames[frames->count++] = (struct source_frame){ function, file != NULL ? copy_text(file) : NULL, line, inlined };
}

/* Compilers leave out the table that tells which unit an address is in; then all are asked. */
static Dwarf_Die *unit_of(Dwfl_Module *module, GElf_Addr address, GElf_Addr *bias)
{
	Dwarf_Die *unit = dwfl_module_addrdie(module, address, bias);

	if (unit != NULL)
		return unit;
	while ((unit = dwfl_module_nextcu(module, unit, bias)) != NULL)
		if (dwarf_haspc(unit, address - *bias) > 0)
			return unit;
	return NULL;
}

/* Where an inlined call was written. */
static void call_place(Dwarf_Die *unit, Dwarf_Die *call, const char **file, int *line)
{
	Dwarf_Attribute attribute;
	Dwarf_Files *files;
	Dwarf_Word number;
	size_t count;

	*file = NULL;
	*line = 0;
	if (dwarf_getsrcfiles(unit, &files, &count) == 0 &&
	    dwarf_formudata(dwarf_attr(call, DW_AT_call_file, &attribute), &number) == 0)
		*file = dwarf_filesrc(files, number, NULL, NULL);
	if (dwarf_formudata(dwarf_attr(call, DW_AT_call_line, &attribute), &number) == 0)
		*line = (int)number;
}

/* The scopes around the address, from the inside: each inlined call, then the function. */
static void scopes_add(struct source_frames *frames, Dwarf_Die *unit, Dwarf_Addr address, const char *file, int line)
{
	Dwarf_Die *innermost;
	Dwarf_Die *scopes;

	if (dwarf_getscopes(unit, address, &innermost) <= 0)
		return;
	int count = dwarf_getscopes_die(&innermost[0], &scopes);
	for (int i = 0; i < count; i++) {
		int tag = dwarf_tag(&scopes[i]);
		if (tag == DW_TAG_inlined_subroutine) {
			frame_add(frames, function_name(&scopes[i]), file, line, true);
			call_place(unit, &scopes[i], &file, &line);
		} else if (tag == DW_TAG_subprogram) {
			frame_add(frames, function_name(&scopes[i]), file, line, false);
			break;
		}
	}
	if (count > 0)
		free(scopes);
	free(innermost);
}

bool source_is_available(void)
{
	return true;
}

struct source_frames source_find(const char *path, const char *build_id, uint64_t offset)
{
	struct source_frames frames = { 0 };
	Dwfl_Module *module = module_open(path);
	GElf_Addr elf_bias;
	GElf_Addr bias;
	const char *file = NULL;
	int line = 0;

	if (module == NULL || dwfl_module_getelf(module, &elf_bias) == NULL)
		return frames;
	if (!has_build_id(module, build_id)) {
		frames.other_file = true;
		return frames;
	}
	GElf_Addr address = offset + elf_bias;
	Dwfl_Line *row = dwfl_module_getsrc(module, address);
	if (row != NULL)
		file = dwfl_lineinfo(row, NULL, &line, NULL, NULL, NULL);
	Dwarf_Die *unit = unit_of(module, address, &bias);
	if (unit != NULL)
		scopes_add(&frames, unit, address - bias, file, line);
	if (frames.count == 0) {
		const char *name = dwfl_module_addrname(module, address);
		if (name != NULL || file != NULL)
			frame_add(&frames, name != NULL ? readable(name) : NULL, file, line, false);
	}
	return frames;
}

#else

bool source_is_available(void)
{
	return false;
}

struct source_frames source_find(const char *path __attribute__((unused)), const char *build_id __attribute__((unused)),
                                 uint64_t offset __attribute__((unused)))
{
	return (struct source_frames){ 0 };
}

#endif

/* An ELF file, mapped, with every offset checked: what the loader would see of it, without running anything.
 *
 * Reads <elf.h>'s structures directly instead of through libelf: only three tables are wanted (program headers, the
 * dynamic section, symbols), libelf finds symbols by section headers, which a stripped file need not have, and a tool
 * that tells why a preload fails should itself build and run everywhere. Files of 32 and 64 bits are understood; of a
 * file in the other byte order only `class`, `machine` and `type` are known. */
#ifndef QUARRY_TOOLS_ELF_FILE_H
#define QUARRY_TOOLS_ELF_FILE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All fields are immutable after elf_open; strings lie in the mapping. */
struct elf_file {
	const unsigned char *bytes;
	size_t size;
	unsigned char class;         /* ELFCLASS32, ELFCLASS64 */
	bool other_order;            /* the file's bytes are in the other order */
	uint16_t machine;            /* EM_... */
	uint16_t type;               /* ET_... */
	const char *interpreter;     /* PT_INTERP; NULL if the kernel starts the file by itself */
	bool has_dynamic;
	/* Of the dynamic section, as offsets in the file; 0 if there is none. */
	uint64_t dynamic_offset, dynamic_count;
	uint64_t strings_offset;
	uint64_t symbols_offset;
	uint64_t gnu_hash_offset;
	uint64_t hash_offset;
};

/* 0, or a negative errno; -ENOEXEC if it is no ELF file or a broken one. */
int elf_open(struct elf_file *elf, const char *path);
void elf_close(struct elf_file *elf);

/* The `index`-th library that the file names as needed, NULL behind the last. */
const char *elf_needed(const struct elf_file *elf, size_t index);
/* DT_SONAME; NULL if there is none. */
const char *elf_soname(const struct elf_file *elf);
/* Whether other objects can bind to a function or variable of that name in this file. */
bool elf_exports(const struct elf_file *elf, const char *name);
/* Whether the file defines the name at all: exported, or in a symbol table that was not stripped. */
bool elf_defines(const struct elf_file *elf, const char *name);
/* Whether the file has these characters anywhere. */
bool elf_contains(const struct elf_file *elf, const char *text);
/* The text that an exported array of characters is initialised with; NULL if there is none. */
const char *elf_exported_text(const struct elf_file *elf, const char *name);

/* "x86-64", "AArch64" ...; "machine 123" for others (in a static buffer). */
const char *elf_machine_name(const struct elf_file *elf);

#endif

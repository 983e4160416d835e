/* Reads the few tables of an ELF file that decide what is preloaded and which malloc wins: see elf_file.h. */
#include "tools/elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* No chain of a hash table is longer in an honest file. */
#define CHAIN_MAX (1u << 24)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_ORDER ELFDATA2LSB
#else
#define OWN_ORDER ELFDATA2MSB
#endif

/* ---- Bytes, strings and records at an offset; NULL or false if they don't lie in the file ---- */

static const void *bytes_at(const struct elf_file *elf, uint64_t offset, uint64_t length)
{
	if (offset > elf->size || length > elf->size - offset)
		return NULL;
	return elf->bytes + offset;
}

static const char *string_at(const struct elf_file *elf, uint64_t offset)
{
	if (offset >= elf->size || memchr(elf->bytes + offset, 0, elf->size - offset) == NULL)
		return NULL;
	return (const char *)elf->bytes + offset;
}

/* The `index`-th record of `size` bytes in a table at `offset`. */
static bool record_read(const struct elf_file *elf, uint64_t offset, uint64_t index, size_t size, void *record)
{
	uint64_t distance;
	if (__builtin_mul_overflow(index, (uint64_t)size, &distance) || __builtin_add_overflow(offset, distance, &offset))
		return false;
	const void *place = bytes_at(elf, offset, size);
	if (place != NULL)
		memcpy(record, place, size);
	return place != NULL;
}

/* Each reads a record of either class into the structure of 64 bits. */

static bool header_read(const struct elf_file *elf, Elf64_Ehdr *header)
{
	Elf32_Ehdr narrow;

	if (elf->class == ELFCLASS64)
		return record_read(elf, 0, 0, sizeof(*header), header);
	if (!record_read(elf, 0, 0, sizeof(narrow), &narrow))
		return false;
	*header = (Elf64_Ehdr){ .e_phoff = narrow.e_phoff, .e_phnum = narrow.e_phnum, .e_shoff = narrow.e_shoff,
		                .e_shnum = narrow.e_shnum };
	return true;
}

static bool segment_read(const struct elf_file *elf, uint64_t offset, uint64_t index, Elf64_Phdr *segment)
{
	Elf32_Phdr narrow;

	if (elf->class == ELFCLASS64)
		return record_read(elf, offset, index, sizeof(*segment), segment);
	if (!record_read(elf, offset, index, sizeof(narrow), &narrow))
		return false;
	*segment = (Elf64_Phdr){ .p_type = narrow.p_type, .p_offset = narrow.p_offset, .p_vaddr = narrow.p_vaddr,
		                 .p_filesz = narrow.p_filesz };
	return true;
}

static bool section_read(const struct elf_file *elf, uint64_t offset, uint64_t index, Elf64_Shdr *section)
{
	Elf32_Shdr narrow;

	if (elf->class == ELFCLASS64)
		return record_read(elf, offset, index, sizeof(*section), section);
	if (!record_read(elf, offset, index, sizeof(narrow), &narrow))
		return false;
	*section = (Elf64_Shdr){ .sh_type = narrow.sh_type, .sh_offset = narrow.sh_offset, .sh_size = narrow.sh_size,
		                 .sh_link = narrow.sh_link };
	return true;
}

static size_t dynamic_bytes(const struct elf_file *elf)
{
	return elf->class == ELFCLASS64 ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
}

static bool dynamic_read(const struct elf_file *elf, uint64_t index, Elf64_Dyn *entry)
{
	Elf32_Dyn narrow;

	if (index >= elf->dynamic_count)
		return false;
	if (elf->class == ELFCLASS64)
		return record_read(elf, elf->dynamic_offset, index, sizeof(*entry), entry);
	if (!record_read(elf, elf->dynamic_offset, index, sizeof(narrow), &narrow))
		return false;
	*entry = (Elf64_Dyn){ .d_tag = narrow.d_tag, .d_un.d_val = narrow.d_un.d_val };
	return true;
}

static size_t symbol_bytes(const struct elf_file *elf)
{
	return elf->class == ELFCLASS64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
}

static bool symbol_read(const struct elf_file *elf, uint64_t offset, uint64_t index, Elf64_Sym *symbol)
{
	Elf32_Sym narrow;

	if (elf->class == ELFCLASS64)
		return record_read(elf, offset, index, sizeof(*symbol), symbol);
	if (!record_read(elf, offset, index, sizeof(narrow), &narrow))
		return false;
	*symbol = (Elf64_Sym){ .st_name = narrow.st_name, .st_info = narrow.st_info, .st_other = narrow.st_other,
		               .st_shndx = narrow.st_shndx, .st_value = narrow.st_value, .st_size = narrow.st_size };
	return true;
}

static bool word_read(const struct elf_file *elf, uint64_t offset, uint64_t index, uint32_t *word)
{
	return record_read(elf, offset, index, sizeof(*word), word);
}

/* ---- Opening ---- */

/* Where the bytes lie that the loader maps at `address`; 0 if nowhere. */
static uint64_t offset_of(const struct elf_file *elf, uint64_t address)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (!header_read(elf, &header))
		return 0;
	for (uint64_t i = 0; i < header.e_phnum && segment_read(elf, header.e_phoff, i, &segment); i++)
		if (segment.p_type == PT_LOAD && address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz)
			return segment.p_offset + (address - segment.p_vaddr);
	return 0;
}

static void dynamic_scan(struct elf_file *elf)
{
	Elf64_Dyn entry;

	for (uint64_t i = 0; dynamic_read(elf, i, &entry) && entry.d_tag != DT_NULL; i++) {
		uint64_t offset = offset_of(elf, entry.d_un.d_ptr);

		if (entry.d_tag == DT_STRTAB)
			elf->strings_offset = offset;
		else if (entry.d_tag == DT_SYMTAB)
			elf->symbols_offset = offset;
		else if (entry.d_tag == DT_GNU_HASH)
			elf->gnu_hash_offset = offset;
		else if (entry.d_tag == DT_HASH)
			elf->hash_offset = offset;
	}
}

static int segments_scan(struct elf_file *elf)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (!header_read(elf, &header))
		return -ENOEXEC;
	for (uint64_t i = 0; i < header.e_phnum && segment_read(elf, header.e_phoff, i, &segment); i++) {
		if (segment.p_type == PT_INTERP) {
			elf->interpreter = string_at(elf, segment.p_offset);
		} else if (segment.p_type == PT_DYNAMIC) {
			elf->has_dynamic = true;
			elf->dynamic_offset = segment.p_offset;
			elf->dynamic_count = segment.p_filesz / dynamic_bytes(elf);
		}
	}
	dynamic_scan(elf);
	return 0;
}

static int identify(struct elf_file *elf)
{
	uint16_t type_and_machine[2];      /* e_type, e_machine: at the same place in both classes */

	if (elf->size < EI_NIDENT || memcmp(elf->bytes, ELFMAG, SELFMAG) != 0 ||
	    !record_read(elf, EI_NIDENT, 0, sizeof(type_and_machine), type_and_machine))
		return -ENOEXEC;
	elf->class = elf->bytes[EI_CLASS];
	elf->other_order = elf->bytes[EI_DATA] != OWN_ORDER;
	elf->type = elf->other_order ? __builtin_bswap16(type_and_machine[0]) : type_and_machine[0];
	elf->machine = elf->other_order ? __builtin_bswap16(type_and_machine[1]) : type_and_machine[1];
	if (elf->class != ELFCLASS32 && elf->class != ELFCLASS64)
		return -ENOEXEC;
	return elf->other_order ? 0 : segments_scan(elf);
}

static int map_whole(struct elf_file *elf, const char *path)
{
	struct stat status;
	int result = 0;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return -errno;
	if (fstat(file, &status) != 0) {
		result = -errno;
	} else if (!S_ISREG(status.st_mode) || status.st_size == 0) {
		result = -ENOEXEC;
	} else {
		void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
		if (bytes == MAP_FAILED)
			result = -errno;
		else
			*elf = (struct elf_file){ .bytes = bytes, .size = (size_t)status.st_size };
	}
	close(file);
	return result;
}

int elf_open(struct elf_file *elf, const char *path)
{
	*elf = (struct elf_file){ 0 };
	int result = map_whole(elf, path);

	if (result == 0) {
		result = identify(elf);
		if (result != 0)
			elf_close(elf);
	}
	return result;
}

void elf_close(struct elf_file *elf)
{
	if (elf->bytes != NULL)
		munmap((void *)(uintptr_t)elf->bytes, elf->size);
	*elf = (struct elf_file){ 0 };
}

/* ---- The dynamic section ---- */

static const char *dynamic_string(const struct elf_file *elf, int64_t tag, size_t index)
{
	Elf64_Dyn entry;

	for (uint64_t i = 0; dynamic_read(elf, i, &entry) && entry.d_tag != DT_NULL; i++)
		if (entry.d_tag == tag && index-- == 0)
			return elf->strings_offset == 0 ? NULL : string_at(elf, elf->strings_offset + entry.d_un.d_val);
	return NULL;
}

const char *elf_needed(const struct elf_file *elf, size_t index)
{
	return dynamic_string(elf, DT_NEEDED, index);
}

const char *elf_soname(const struct elf_file *elf)
{
	return dynamic_string(elf, DT_SONAME, 0);
}

/* ---- Symbols, found as the loader finds them: by the hash table ---- */

static bool symbol_is(const struct elf_file *elf, uint32_t index, const char *name, Elf64_Sym *symbol)
{
	if (!symbol_read(elf, elf->symbols_offset, index, symbol) || symbol->st_shndx == SHN_UNDEF)
		return false;
	if (ELF64_ST_BIND(symbol->st_info) == STB_LOCAL || ELF64_ST_VISIBILITY(symbol->st_other) == STV_HIDDEN)
		return false;
	const char *found = string_at(elf, elf->strings_offset + symbol->st_name);
	return found != NULL && strcmp(found, name) == 0;
}

/* DT_GNU_HASH: count of buckets, first symbol, count of filter words, shift; filter; buckets; one word per symbol, the
 * last of each bucket with bit 0 set. */
static bool gnu_hash_find(const struct elf_file *elf, const char *name, Elf64_Sym *symbol)
{
	uint32_t head[4], index, word;
	uint32_t hash = 5381;

	for (const char *c = name; *c != 0; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (!record_read(elf, elf->gnu_hash_offset, 0, sizeof(head), head) || head[0] == 0)
		return false;
	uint64_t filter_bytes = (uint64_t)head[2] * (elf->class == ELFCLASS64 ? 8 : 4);
	uint64_t buckets = elf->gnu_hash_offset + sizeof(head) + filter_bytes;
	uint64_t chains = buckets + (uint64_t)head[0] * sizeof(word);
	if (!word_read(elf, buckets, hash % head[0], &index) || index < head[1])
		return false;
	for (; word_read(elf, chains, index - head[1], &word); index++) {
		if ((word | 1) == (hash | 1) && symbol_is(elf, index, name, symbol))
			return true;
		if ((word & 1) != 0)
			return false;
	}
	return false;
}

/* DT_HASH: count of buckets, count of chain words; buckets; the next symbol of each symbol. */
static bool hash_find(const struct elf_file *elf, const char *name, Elf64_Sym *symbol)
{
	uint32_t head[2], index;
	uint32_t hash = 0;

	for (const char *c = name; *c != 0; c++) {
		hash = (hash << 4) + (unsigned char)*c;
		hash = (hash ^ ((hash & 0xf0000000) >> 24)) & 0x0fffffff;
	}
	if (!record_read(elf, elf->hash_offset, 0, sizeof(head), head) || head[0] == 0)
		return false;
	uint64_t buckets = elf->hash_offset + sizeof(head);
	uint64_t chains = buckets + (uint64_t)head[0] * sizeof(index);
	bool readable = word_read(elf, buckets, hash % head[0], &index);
	for (unsigned steps = 0; readable && index != STN_UNDEF && steps < CHAIN_MAX; steps++) {
		if (symbol_is(elf, index, name, symbol))
			return true;
		readable = word_read(elf, chains, index, &index);
	}
	return false;
}

static bool export_find(const struct elf_file *elf, const char *name, Elf64_Sym *symbol)
{
	if (elf->symbols_offset == 0 || elf->strings_offset == 0)
		return false;
	if (elf->gnu_hash_offset != 0)
		return gnu_hash_find(elf, name, symbol);
	return elf->hash_offset != 0 && hash_find(elf, name, symbol);
}

bool elf_exports(const struct elf_file *elf, const char *name)
{
	Elf64_Sym symbol;

	return export_find(elf, name, &symbol);
}

static bool table_defines(const struct elf_file *elf, const Elf64_Shdr *table, const Elf64_Shdr *strings, const char *name)
{
	Elf64_Sym symbol;
	uint64_t count = table->sh_size / symbol_bytes(elf);

	for (uint64_t i = 0; i < count && symbol_read(elf, table->sh_offset, i, &symbol); i++) {
		if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= strings->sh_size)
			continue;
		const char *found = string_at(elf, strings->sh_offset + symbol.st_name);
		if (found != NULL && strcmp(found, name) == 0)
			return true;
	}
	return false;
}

bool elf_defines(const struct elf_file *elf, const char *name)
{
	Elf64_Ehdr header;
	Elf64_Shdr table, strings;

	if (elf_exports(elf, name))
		return true;
	if (elf->other_order || !header_read(elf, &header))
		return false;
	for (uint64_t i = 0; i < header.e_shnum && section_read(elf, header.e_shoff, i, &table); i++)
		if (table.sh_type == SHT_SYMTAB && section_read(elf, header.e_shoff, table.sh_link, &strings) &&
		    table_defines(elf, &table, &strings, name))
			return true;
	return false;
}

bool elf_contains(const struct elf_file *elf, const char *text)
{
	return memmem(elf->bytes, elf->size, text, strlen(text)) != NULL;
}

const char *elf_exported_text(const struct elf_file *elf, const char *name)
{
	Elf64_Sym symbol;
	uint64_t offset = export_find(elf, name, &symbol) ? offset_of(elf, symbol.st_value) : 0;

	return offset == 0 ? NULL : string_at(elf, offset);
}

/* ---- Words ---- */

const char *elf_machine_name(const struct elf_file *elf)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} machines[] = {
		{ EM_X86_64, "x86-64" }, { EM_386, "i386" }, { EM_AARCH64, "AArch64" }, { EM_ARM, "ARM" },
		{ EM_RISCV, "RISC-V" }, { EM_PPC64, "PowerPC64" }, { EM_S390, "S/390" }, { EM_MIPS, "MIPS" },
		{ EM_LOONGARCH, "LoongArch" }, { EM_SPARCV9, "SPARC64" },
	};
	static char unknown[32];

	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++)
		if (machines[i].machine == elf->machine)
			return machines[i].name;
	snprintf(unknown, sizeof(unknown), "machine %u", elf->machine);
	return unknown;
}

/* Reading the tables of a loaded object: see module.h. The formats are those of the ELF specification. */
#include "guard/module.h"

#include <elf.h>
#include <string.h>

#include "base/bits.h"

static bool is_inside(const struct os_object *object, const void *start, size_t bytes)
{
	return (uintptr_t)start >= object->start && (uintptr_t)start < object->end && bytes <= object->end - (uintptr_t)start;
}

/* The first page of a mapping holds the file's header and its table of segments, if linkers did as they all do. */
static const Elf64_Ehdr *header_of(const struct os_object *object)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)object->start;

	if (object->end - object->start < os_page_bytes() || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
	    header->e_phentsize != sizeof(Elf64_Phdr) ||
	    header->e_phoff + header->e_phnum * sizeof(Elf64_Phdr) > os_page_bytes())
		return NULL;
	return header;
}

static void note_read(struct module *module, const char *at, size_t bytes)
{
	while (bytes > sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)(const void *)at;
		size_t name_bytes = ROUND_UP((size_t)note->n_namesz, 4);
		size_t text_bytes = ROUND_UP((size_t)note->n_descsz, 4);

		at += sizeof(*note);
		bytes -= sizeof(*note);
		if (name_bytes > bytes || text_bytes > bytes - name_bytes)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == sizeof("GNU") && memcmp(at, "GNU", sizeof("GNU")) == 0) {
			module->build_id_bytes = min_size(note->n_descsz, BUILD_ID_BYTES_MAX);
			memcpy(module->build_id, at + name_bytes, module->build_id_bytes);
			return;
		}
		at += name_bytes + text_bytes;
		bytes -= name_bytes + text_bytes;
	}
}

static void build_id_read(struct module *module)
{
	const Elf64_Ehdr *header = header_of(&module->object);

	if (header == NULL)
		return;
	const Elf64_Phdr *segments = (const Elf64_Phdr *)(const void *)((const char *)header + header->e_phoff);
	for (size_t i = 0; i < header->e_phnum && module->build_id_bytes == 0; i++) {
		const char *notes = (const char *)(module->object.bias + segments[i].p_vaddr);
		if (segments[i].p_type == PT_NOTE && is_inside(&module->object, notes, segments[i].p_memsz))
			note_read(module, notes, segments[i].p_memsz);
	}
}

bool module_of(uintptr_t address, struct module *module)
{
	memset(module, 0, sizeof(*module));
	if (!os_object_of((const void *)address, &module->object))
		return false;
	module->path = module->object.name[0] != 0 ? module->object.name : os_program_path();
	build_id_read(module);
	return true;
}

/* ---- Dynamic symbols ---- */

struct symbols {
	const Elf64_Sym *table;
	const char *names;
	size_t names_bytes;
	const uint32_t *gnu_hash;
	const uint32_t *hash;
};

/* The loader has made addresses of most offsets; not of the kernel's own object's. */
static const void *table_at(const struct os_object *object, uintptr_t value)
{
	return (const void *)(value < object->start ? value + object->bias : value);
}

static void symbols_find(const struct os_object *object, struct symbols *symbols)
{
	const Elf64_Dyn *entry = object->dynamic;

	memset(symbols, 0, sizeof(*symbols));
	for (; entry != NULL && is_inside(object, entry, sizeof(*entry)) && entry->d_tag != DT_NULL; entry++) {
		const void *table = table_at(object, entry->d_un.d_ptr);

		switch (entry->d_tag) {
		case DT_SYMTAB:
			symbols->table = table;
			break;
		case DT_STRTAB:
			symbols->names = table;
			break;
		case DT_STRSZ:
			symbols->names_bytes = entry->d_un.d_val;
			break;
		case DT_GNU_HASH:
			symbols->gnu_hash = table;
			break;
		case DT_HASH:
			symbols->hash = table;
			break;
		default:
			break;
		}
	}
}

/* GNU's table has no count: the last chain's end tells. */
static size_t gnu_hash_count(const struct os_object *object, const uint32_t *hash)
{
	if (!is_inside(object, hash, 4 * sizeof(*hash)))
		return 0;
	uint32_t bucket_count = hash[0], first = hash[1], words = hash[2];
	const uint32_t *buckets = hash + 4 + (size_t)words * 2;
	const uint32_t *chains = buckets + bucket_count;
	uint32_t last = 0;

	if (!is_inside(object, buckets, bucket_count * sizeof(*buckets)))
		return 0;
	for (uint32_t i = 0; i < bucket_count; i++)
		last = buckets[i] > last ? buckets[i] : last;
	if (last < first)
		return 0;
	while (is_inside(object, &chains[last - first], sizeof(*chains)) && (chains[last - first] & 1) == 0)
		last++;
	return (size_t)last + 1;
}

static size_t symbols_count(const struct os_object *object, const struct symbols *symbols)
{
	if (symbols->gnu_hash != NULL)
		return gnu_hash_count(object, symbols->gnu_hash);
	if (symbols->hash != NULL && is_inside(object, symbols->hash, 2 * sizeof(*symbols->hash)))
		return symbols->hash[1];
	return 0;
}

const char *module_symbol(const struct module *module, uintptr_t address, uintptr_t *offset)
{
	const struct os_object *object = &module->object;
	struct symbols symbols;
	const char *best = NULL;
	uintptr_t best_start = 0;

	symbols_find(object, &symbols);
	size_t count = symbols_count(object, &symbols);
	if (symbols.table == NULL || symbols.names == NULL || !is_inside(object, symbols.table, count * sizeof(Elf64_Sym)) ||
	    !is_inside(object, symbols.names, symbols.names_bytes))
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const Elf64_Sym *symbol = &symbols.table[i];
		uintptr_t start = object->bias + symbol->st_value;

		if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_TYPE(symbol->st_info) == STT_TLS ||
		    symbol->st_name >= symbols.names_bytes || start > address || start < best_start)
			continue;
		/* What has a size ends there; assembler's has none. */
		if (symbol->st_size != 0 ? address - start >= symbol->st_size : ELF64_ST_TYPE(symbol->st_info) != STT_FUNC)
			continue;
		best = symbols.names + symbol->st_name;
		best_start = start;
	}
	*offset = address - best_start;
	return best;
}

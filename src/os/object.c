/* Programs and libraries that are loaded: see os.h. */
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/syscall.h"

/* Declared in <dlfcn.h> under _GNU_SOURCE since glibc 2.35; weak, so that older C libraries and musl do without. */
struct object_found {
	unsigned long long flags;
	void *map_start;
	void *map_end;
	struct link_map *link_map;
	void *unwind_table;
	unsigned long long reserved[7];
};
extern int find_object(void *address, struct object_found *found) __asm__("_dl_find_object") __attribute__((weak));

struct search {
	uintptr_t address;
	struct os_object *object;
};

static bool holds(const struct os_object *object, const void *address)
{
	return (uintptr_t)address >= object->start && (uintptr_t)address < object->end;
}

static void piece_add(struct os_object *object, uintptr_t start, size_t bytes)
{
	uintptr_t end = start + bytes;

	start = ROUND_DOWN(start, os_kernel_page_bytes());
	object->start = start < object->start ? start : object->start;
	object->end = end > object->end ? end : object->end;
}

/* dl_iterate_phdr's callback: 1 ends the search. */
static int object_compare(struct dl_phdr_info *info, size_t bytes UNUSED, void *context)
{
	struct search *search = context;
	struct os_object object = { .start = UINTPTR_MAX, .bias = info->dlpi_addr,
		                    .name = info->dlpi_name != NULL ? info->dlpi_name : "" };

	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + header->p_vaddr;

		if (header->p_type == PT_LOAD) {
			piece_add(&object, start, header->p_memsz);
		} else if (header->p_type == PT_GNU_EH_FRAME) {
			object.unwind_table = (const void *)start;
		} else if (header->p_type == PT_DYNAMIC) {
			object.dynamic = (const void *)start;
		}
	}
	if (!holds(&object, (const void *)search->address))
		return 0;
	/* musl gives the program a name, as it was started. */
	if ((uintptr_t)info->dlpi_phdr == getauxval(AT_PHDR))
		object.name = "";
	*search->object = object;
	return 1;
}

/* The kernel leaves gaps between the program's pieces where their alignment is more than a page, and glibc then tells the one
 * that holds the address. The program's headers tell all. */
static void widen_to_program(struct os_object *object)
{
	const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
	struct os_object whole = *object;

	for (size_t i = 0; headers != NULL && i < getauxval(AT_PHNUM); i++)
		if (headers[i].p_type == PT_LOAD)
			piece_add(&whole, object->bias + headers[i].p_vaddr, headers[i].p_memsz);
	if (holds(&whole, object->unwind_table))
		*object = whole;
}

static bool object_found(const void *address, struct os_object *object)
{
	struct object_found found;

	if (find_object((void *)(uintptr_t)address, &found) != 0 || (uintptr_t)address < (uintptr_t)found.map_start ||
	    (uintptr_t)address >= (uintptr_t)found.map_end)
		return false;
	*object = (struct os_object){
		.start = (uintptr_t)found.map_start,
		.end = (uintptr_t)found.map_end,
		.unwind_table = found.unwind_table,
		.name = "",
	};
	if (found.link_map != NULL) {
		object->bias = found.link_map->l_addr;
		object->dynamic = found.link_map->l_ld;
		object->name = found.link_map->l_name != NULL ? found.link_map->l_name : "";
	}
	if (object->unwind_table != NULL && !holds(object, object->unwind_table))
		widen_to_program(object);
	return true;
}

bool os_object_of(const void *address, struct os_object *object)
{
	struct search search = { (uintptr_t)address, object };

	if (find_object != NULL)
		return object_found(address, object);
	return dl_iterate_phdr(object_compare, &search) != 0;
}

bool os_is_in_object(const void *address)
{
	struct os_object object;

	return find_object != NULL && object_found(address, &object);
}

const char *os_object_name(const void *address)
{
	struct os_object object;

	if (find_object == NULL || !object_found(address, &object))
		return NULL;
	/* The program's own entry in the loader's list has no name. */
	return object.name[0] != 0 ? object.name : (const char *)getauxval(AT_EXECFN);
}

bool os_is_same_object(const void *one, const void *other)
{
	struct os_object object;

	return find_object != NULL && object_found(one, &object) && holds(&object, other);
}

bool os_is_loader(const void *address)
{
	uintptr_t base = getauxval(AT_BASE);

	return base == 0 || os_is_same_object(address, (const void *)base);
}

const char *os_program_path(void)
{
	static char path[4096];
	static _Atomic bool known;

	if (!atomic_load_explicit(&known, memory_order_acquire)) {
		long length = SYSCALL4(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof(path) - 1);

		path[syscall_failed(length) ? 0 : length] = 0;
		atomic_store_explicit(&known, true, memory_order_release);
	}
	return path;
}

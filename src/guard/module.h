/* Where an address of code lies: program or library, offset, build id, the nearest name of the dynamic symbol table.
 * Reads the object's own memory; takes no lock with glibc 2.35 and later, allocates nothing. For reports. */
#ifndef QUARRY_GUARD_MODULE_H
#define QUARRY_GUARD_MODULE_H

#include "os/os.h"

#define BUILD_ID_BYTES_MAX 32

struct module {
	struct os_object object;
	const char *path;               /* "" if unknown */
	uint8_t build_id[BUILD_ID_BYTES_MAX];
	size_t build_id_bytes;          /* 0: it has none */
};

bool module_of(uintptr_t address, struct module *module);
/* The name of the dynamic symbol that the address lies in, and how far behind its start; NULL if none is known. */
const char *module_symbol(const struct module *module, uintptr_t address, uintptr_t *offset);

#endif

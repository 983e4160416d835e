/* Fuzzing: a file that `quarry` is to tell of: any bytes as a program. */
#include "fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tools/elf_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static int file = -1;
	static char path[64];
	struct elf_file elf;

	if (file < 0) {
		file = memfd_create("elf", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	}
	MUST(file >= 0 && ftruncate(file, 0) == 0);
	MUST(pwrite(file, bytes, length, 0) == (ssize_t)length);
	if (elf_open(&elf, path) != 0)
		return 0;
	size_t seen = strlen(elf_machine_name(&elf));
	for (size_t i = 0; i < 16 && elf_needed(&elf, i) != NULL; i++)
		seen += strlen(elf_needed(&elf, i));
	if (elf_soname(&elf) != NULL)
		seen += strlen(elf_soname(&elf));
	const char *text = elf_exported_text(&elf, "quarry_options");
	if (text != NULL)
		seen += strlen(text);
	seen += elf_exports(&elf, "malloc") + elf_defines(&elf, "free") + elf_contains(&elf, "QUARRY_OPTIONS");
	MUST(seen < SIZE_MAX);
	elf_close(&elf);
	return 0;
}

/* Fuzzing: the unwind tables of a program, which guard mode reads for its stacks: any bytes as .eh_frame_hdr and .eh_frame,
 * or as the expression that finds a frame. */
#include "fuzz/fuzz.h"

#include <sys/mman.h>

#include "guard/cfi.h"

#define MOST 4096

static bool read_any(uintptr_t address, uintptr_t *word)
{
	*word = address * 0x9e3779b97f4a7c15u;
	return address % 8 != 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static uint8_t *pages;
	uintptr_t registers[CFI_REGISTER_COUNT] = { 0 };
	uintptr_t first = 1, result;
	struct cfi_frame frame;

	/* At the end of what is accessible. */
	if (pages == NULL) {
		pages = mmap(NULL, 2 * MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		MUST(pages != MAP_FAILED && mprotect(pages + MOST, MOST, PROT_NONE) == 0);
	}
	if (length < 2 || length > MOST)
		return 0;
	uint8_t *place = pages + MOST - length;
	memcpy(place, bytes, length);
	if (bytes[0] == 0) {
		cfi_evaluate(place + 1, place + length, registers, UINT64_MAX, &first, read_any, &result);
		return 0;
	}
	struct os_object object = { .start = (uintptr_t)place, .end = (uintptr_t)place + length, .unwind_table = place };
	for (size_t at = 0; at < length; at += 1 + length / 8)
		if (cfi_find(&object, (uintptr_t)place + at, &frame) && frame.cfa_expression != NULL)
			MUST(frame.cfa_expression >= place && frame.cfa_expression < place + length);
	return 0;
}

/* Call frame information: where a function has left its caller's registers, read from the unwind tables that compilers
 * put into every program and library (.eh_frame, found by .eh_frame_hdr). Made for unwind.c, which remembers the answers.
 * Takes no lock, allocates nothing, reads nothing but the object's own mapping. */
#ifndef QUARRY_GUARD_CFI_H
#define QUARRY_GUARD_CFI_H

#include "os/os.h"

/* The architecture's numbers of the registers that take part (the psABI's chapter on DWARF). */
#if defined(__x86_64__)
enum { CFI_REGISTER_FRAME = 6, CFI_REGISTER_STACK = 7, CFI_REGISTER_RETURN = 16, CFI_REGISTER_COUNT = 17 };
#elif defined(__aarch64__)
enum { CFI_REGISTER_FRAME = 29, CFI_REGISTER_STACK = 31, CFI_REGISTER_RETURN = 30, CFI_REGISTER_COUNT = 32 };
#else
enum { CFI_REGISTER_FRAME = 8, CFI_REGISTER_STACK = 2, CFI_REGISTER_RETURN = 1, CFI_REGISTER_COUNT = 32 };
#endif

enum cfi_where {
	CFI_SAME,               /* still in the register */
	CFI_UNDEFINED,          /* lost; of the return address: there is no caller */
	CFI_SAVED,              /* at offset from the canonical frame address (the stack pointer after the return) */
	CFI_COMPUTED,           /* at the address that the expression gives */
	CFI_OTHER,              /* in a way that no compiler uses for these two */
};

struct cfi_place {
	enum cfi_where where;
	int64_t offset;
	const uint8_t *expression;      /* its length first (ULEB128) */
};

struct cfi_frame {
	uint64_t cfa_register;
	int64_t cfa_offset;
	const uint8_t *cfa_expression;  /* NULL: register plus offset */
	struct cfi_place frame;         /* the caller's frame pointer */
	struct cfi_place back;          /* the return address */
	bool signal;                    /* a trampoline that the kernel has made the frame of */
};

/* What holds at the instruction at `address`, which lies in `object`; false if the tables don't say. */
bool cfi_find(const struct os_object *object, uintptr_t address, struct cfi_frame *frame);

/* Evaluates an expression with these registers (by number). `read` reads a word of memory, false if it can't. False if
 * it isn't one of the simple kind that compilers and linkers make for frames. */
bool cfi_evaluate(const uint8_t *expression, const uint8_t *end, const uintptr_t *registers, uint64_t known,
                  const uintptr_t *first, bool (*read)(uintptr_t address, uintptr_t *word), uintptr_t *result);

#endif

/* How many bytes the instruction that faulted was to read or write: decoded from its opcode, as far as compilers and the C
 * library use them. The processor doesn't say. For fault.c. */
#ifndef QUARRY_GUARD_INSTRUCTION_H
#define QUARRY_GUARD_INSTRUCTION_H

#include "base/compiler.h"

/* 0 if that isn't known: an instruction that isn't decoded, or a repeated one. */
size_t instruction_access_bytes(uintptr_t pc);

/* Whether it writes: 1 or 0, -1 if that isn't known. For processors that have not said so themselves. */
int instruction_writes(uintptr_t pc);

#endif

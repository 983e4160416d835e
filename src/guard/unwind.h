/* Walks a thread's own stack from frame to frame, exactly: for each return address the unwind tables say where the
 * caller's frame is, and what they say is remembered in one word, so that a frame met again costs a look-up and two
 * loads. Where most functions keep frame pointers those words say so, and the walk is that of frame pointers, but one
 * that no function without them leads astray. Code without tables (just-in-time compiled, assembler) is passed by its
 * frame pointers as far as those are sound.
 *
 * Takes no lock and allocates nothing; works in signal handlers. Called by stack.c and fault.c. */
#ifndef QUARRY_GUARD_UNWIND_H
#define QUARRY_GUARD_UNWIND_H

#include "base/compiler.h"

/* A place in a thread's stack. */
struct unwind {
	uintptr_t pc;
	uintptr_t stack;                /* stack pointer there */
	uintptr_t frame;                /* frame pointer register there, whatever it holds */
	uintptr_t back;                 /* return address register, where there is one */
	uintptr_t end;                  /* of the stack; UINTPTR_MAX if unknown */
	const uintptr_t *registers;     /* all, by their numbers in the tables: in an interrupted frame only, else NULL */
	bool exact;                     /* pc is an instruction that was interrupted, not a return address */
};

/* Where return addresses are remembered: `memory` of UNWIND_CACHE_BYTES, zeroed. Without it all is looked up anew. */
#define UNWIND_CACHE_BYTES ((size_t)256 << 10)
void unwind_use_cache(void *memory);

/* The caller of the function whose __builtin_frame_address(0) is `frame`. */
struct unwind unwind_from_frame(const void *frame);
/* What a signal has interrupted; `registers` (CFI_REGISTER_COUNT) is filled in and used on. */
struct unwind unwind_from_context(const void *ucontext, uintptr_t *registers);

/* To the caller; false at the outermost frame, or where no more is known. */
bool unwind_step(struct unwind *unwind);

/* A word of memory that may not be there. A fault in it is one that unwind_repair knows: the handler of SIGSEGV
 * (fault.c) then goes on at the address that it gives, 0 for all other faults. */
bool unwind_read(uintptr_t address, uintptr_t *word);
uintptr_t unwind_repair(uintptr_t pc);

#endif

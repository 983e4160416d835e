/* Reports of misuse: what, which pointer, the block around it, the thread, what to try next; then abort. Written with
 * one write(2), without allocating. Called by src/api/ with no lock held. */
#ifndef QUARRY_GUARD_REPORT_H
#define QUARRY_GUARD_REPORT_H

#include "base/compiler.h"

/* `call` was given a pointer in Quarry's memory that is not the start of a live block. `call` is the function's name
 * as the program knows it. */
_Noreturn COLD void report_bad_pointer(const char *call, const void *pointer);

/* `call` was given a pointer outside Quarry's memory that can't be another allocator's, or that the option
 * foreign=abort forbids. */
_Noreturn COLD void report_foreign_pointer(const char *call, const void *pointer);

struct guarded;

enum report_kind {
	REPORT_DOUBLE_FREE,
	REPORT_INTERIOR,
	REPORT_INVALID,                 /* in guarded memory, but nothing that was ever handed out */
	REPORT_MISMATCHED,              /* freed by a form that does not fit the one that made it */
	REPORT_WRONG_SIZE,              /* of a sized delete or free */
	REPORT_WRONG_ALIGNMENT,
	REPORT_OVERFLOW,                /* found by the bytes behind the block */
	REPORT_UNDERFLOW,               /* by those in front of it */
	REPORT_WRITTEN_AFTER_FREE,      /* where the freed block could not be made inaccessible */
};

struct report {
	const char *call;
	const void *pointer;
	enum report_kind kind;
	const struct guarded *block;    /* NULL if none is near */
	ptrdiff_t changed_offset;       /* OVERFLOW, UNDERFLOW, WRITTEN_AFTER_FREE: first changed byte, from the block's start */
	size_t said;                    /* WRONG_SIZE, WRONG_ALIGNMENT: what the call said */
};

/* About a guarded block, or a pointer into guarded memory. */
COLD void report(const struct report *report);

#endif

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

#endif

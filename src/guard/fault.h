/* Faults on guarded memory: a handler of SIGSEGV and SIGBUS, installed in guard mode only, that reports an access to a
 * guarded block and then lets the process end as it would have. Faults that are none of ours go to whoever was there
 * before; a handler that the program installs later takes this one's place. */
#ifndef QUARRY_GUARD_FAULT_H
#define QUARRY_GUARD_FAULT_H

#include "base/compiler.h"
#include "guard/guarded.h"

/* Where guarded blocks are. Called in the handler. */
struct fault_source {
	bool (*owns)(const void *address);      /* guarded memory, whether a block is known there or not */
	bool (*find)(const void *address, struct guarded *found);
	/* on_error=warn: makes the page of the address accessible, so that the access can be made. False if it can't. */
	bool (*open)(const void *address);
};

/* Once, by the first thread. False if the system refuses. Faults while the stack is walked (unwind.h) are mended whatever
 * `source` says. */
bool fault_install(const struct fault_source *source);

#endif

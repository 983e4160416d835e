/* Debug builds: makes chosen calls to the system fail, so that tests reach what is done then. Each function of os.h that
 * may fail asks here before it makes its call, and returns the error that it is told to. Other builds hold none of it. */
#ifndef QUARRY_OS_FAULT_H
#define QUARRY_OS_FAULT_H

#include "base/compiler.h"

enum os_call {
	OS_CALL_RESERVE,
	OS_CALL_RESERVE_UNCHARGED,
	OS_CALL_COMMIT,
	OS_CALL_UNCOMMIT,
	OS_CALL_PROTECT_NONE,
	OS_CALL_PROTECT_READ,
	OS_CALL_PURGE,
	OS_CALL_REMAP_FRESH,
	OS_CALL_MOVE,                   /* each piece that os_move moves, there and back */
	OS_CALL_RESIDENT,
	OS_CALL_ADVISE_HUGE,
	OS_CALL_SEAL,
	OS_CALL_GUARD_INSTALL,
	OS_CALL_GUARD_REMOVE,
	OS_CALL_OPEN,                   /* of any file */
	OS_CALL_READ,                   /* of files that are kept open, and of what is known of pages */
	OS_CALL_COPY,
	OS_CALL_SIGNAL_ACTION,
	OS_CALL_SIGNAL_SEND,            /* to another thread, to stop it */
	OS_CALL_THREAD_START,
	OS_CALL_COUNT
};

#ifdef QUARRY_DEBUG

#define OS_FAULT_ALWAYS 1000000u

struct os_fault {
	uint64_t skip;                  /* so many calls are made first */
	uint64_t count;                 /* so many of those after that fail; 0: without end */
	uint32_t per_million;           /* with this probability each; OS_FAULT_ALWAYS: all */
	int error;                      /* a positive errno; 0: none fails */
};

/* From now on; what was set for the call before is forgotten. Any thread, at any time. */
void os_fault_set(enum os_call call, struct os_fault fault);
/* None fails any more; chance starts anew from `seed`. The counts below start at 0. */
void os_fault_reset(uint64_t seed);
/* Calls that were asked for, and those of them that were made to fail. */
uint64_t os_fault_calls(enum os_call call);
uint64_t os_fault_failed(enum os_call call);

/* For src/os/: 0, or the negative errno that the call is to return. */
int os_fault(enum os_call call);

#else

static inline int os_fault(enum os_call call UNUSED)
{
	return 0;
}

#endif

#endif

/* The start: options are read, locks and keys made, once, by the first slow path of the process, which may come before
 * any constructor and before the C library is ready; what needs the C library waits for the constructor. */
#ifndef QUARRY_API_INIT_H
#define QUARRY_API_INIT_H

#include <stdatomic.h>

#include "api/foreign.h"
#include "base/options.h"

/* What is written at the start and read-only from then on (mprotect, and mseal where the kernel has it). */
struct sealed {
	struct options options;
	struct foreign_next next;
} ALIGNED(SEAL_ALIGNMENT);

HIDDEN extern struct sealed sealed;

HIDDEN extern _Atomic bool init_done;

/* The first slow path calls it; harmless to call again. */
COLD void init_once(void);

static inline void init_ensure(void)
{
	if (UNLIKELY(!atomic_load_explicit(&init_done, memory_order_acquire)))
		init_once();
}

#endif

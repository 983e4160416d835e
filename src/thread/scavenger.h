/* The scavenger: a thread that gives memory back when the program has fallen silent. There is one only while several
 * threads have heaps: a program with a single thread gets no second one from us (there what may be retained is all that
 * can stay). It is started when the second heap comes into use, not later, because a sandbox may forbid it then; sleeps
 * without a timer while there is nothing to give back; blocks all signals; allocates nothing; ends when there is nothing
 * left to do and only one heap in use, and when main's thread ends before the process does, which it must not keep
 * alive. A fork's child starts one of its own when it needs it. */
#ifndef QUARRY_THREAD_SCAVENGER_H
#define QUARRY_THREAD_SCAVENGER_H

#include <stdatomic.h>

#include "base/compiler.h"

/* Before the second thread exists. Off, or a decay_ms of 0: none is ever started. `watches`: it looks how short memory
 * is, in files that it opens when it starts (space/pressure.h). */
void scavenger_configure(bool on, uint64_t decay_ms, bool watches);

/* For calloc under the C library's name: pthread_create clears a flag and then calls it, before its first thread exists
 * (glibc; elsewhere the flag is never clear). A sandbox that is set up while threads have hardly allocated yet may kill for
 * the calls that start the scavenger: whether there is one is asked of files that are opened by scavenger_expect (unless the
 * scavenger doesn't watch: then none is ever opened). Once only, and only if the caller is the loader (glibc 2.35), or the
 * program static: elsewhere there may be threads already. */
HIDDEN extern _Atomic(const char *) scavenger_single_threaded;
ALWAYS_INLINE bool scavenger_first_thread_comes(void)
{
	return *atomic_load_explicit(&scavenger_single_threaded, memory_order_relaxed) == 0;
}
void scavenger_expect(const void *caller);

/* A thread has got its heap: starts the scavenger if that was not the only one. No lock is held. */
void scavenger_start_if_needed(void);

/* A thread has given its heap back: with the last one, and when only one is left and nothing to do, the scavenger ends. */
void scavenger_heap_given(void);

/* The thread that main runs in has ended. */
void scavenger_stop(void);

void scavenger_fork_child(void);

#endif

/* Who called: stacks and threads as 32-bit numbers, for the records of guarded blocks. Each distinct stack is kept once,
 * in a depot that only grows; a thread's name is kept once per change.
 *
 * Everything is lock-free and may be called from any context: nothing waits, a thread that a fork or a signal handler
 * stops in the middle leaves a gap of some bytes at worst. Before stack_configure all numbers are 0 (unknown). */
#ifndef QUARRY_GUARD_STACK_H
#define QUARRY_GUARD_STACK_H

#include "base/compiler.h"

#define STACK_FRAMES_MAX 64

/* Once, in guard mode: at most `depth` frames are kept of a stack, the innermost; `depot_bytes` for all of them
 * together. `names`: notes of threads have the threads' names, which takes a system call now and then. False if there is no memory for it. */
bool stack_configure(size_t depth, size_t depot_bytes, bool names);

/* Number of the calling thread's stack, from the caller of the function whose __builtin_frame_address(0) is `frame` on;
 * `skip` more are left out, and before these all that lie in libquarry.so. 0 if the depot is full or nothing is known. */
uint32_t stack_capture(const void *frame, unsigned skip);
/* The same of frames that are known already, with a hash of them. */
uint32_t stack_keep(uint64_t hash, const uintptr_t *frames, size_t count);
/* The return addresses of a stack, innermost first. Returns their number; 0 for a number that is none. */
size_t stack_frames(uint32_t stack, uintptr_t *frames, size_t most);
/* The stack that a signal has interrupted, for its handler: the first is the instruction itself. */
size_t stack_capture_context(const void *ucontext, uintptr_t *frames, size_t most);
/* The calling thread's, without keeping it. */
size_t stack_here(const void *frame, uintptr_t *frames, size_t most);

/* Where the shared library that this is lies, code and data; 0 and 0 in programs that have it linked in. */
void stack_own_object(uintptr_t *start, uintptr_t *end);

/* Bytes of the depot that are used, and stacks in it. */
size_t stack_depot_bytes(void);
size_t stack_depot_count(void);

/* Number of (kernel id, name) of the calling thread. The name is "" unless names are kept; it is asked for again now and
 * then: a thread that gives itself a name has its creator's at first. */
uint32_t thread_note(void);
/* id 0 and "" for a number that is none, or too old: the newest 65,536 are kept. */
void thread_note_get(uint32_t note, int *id, char name[16]);

#endif

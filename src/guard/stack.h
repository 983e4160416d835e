/* Stacks and threads, each kept once and known by a number from then on. Called by guarded.c for what allocates and frees,
 * by report.c to say it again. */
#ifndef QUARRY_GUARD_STACK_H
#define QUARRY_GUARD_STACK_H

#include "base/compiler.h"

/* Number of the calling thread's stack from `frame` on, less `skip` frames; 0 if it is not known. */
uint32_t stack_capture(const void *frame, unsigned skip);
size_t stack_frames(uint32_t stack, uintptr_t *frames, size_t most);
/* The stack at a fault; async-signal-safe. */
size_t stack_capture_context(const void *ucontext, uintptr_t *frames, size_t most);

/* Number of the calling thread: one per distinct pair of kernel id and name. */
uint32_t thread_note(void);
void thread_note_get(uint32_t note, int *id, char name[16]);

#endif

/* What base asks of the system: base has no system calls of its own, src/os/ implements these. */
#ifndef QUARRY_BASE_PORT_H
#define QUARRY_BASE_PORT_H

#include <stdatomic.h>

#include "base/compiler.h"

/* Sleeps while *word == expected; may return early for no reason. */
void port_futex_wait(_Atomic uint32_t *word, uint32_t expected);
/* Wakes up to `count` sleepers. */
void port_futex_wake(_Atomic uint32_t *word, uint32_t count);
/* Writes all of it to standard error, retrying; gives up silently if that can't be written to. Async-signal-safe. */
void port_write_error(const char *text, size_t length);
/* Tells threads apart, also across a fork: the child's only thread has its parent's value. Never 0, no system call. */
uintptr_t port_thread_self(void);
/* Ends the process by SIGABRT. */
_Noreturn void port_abort(void);

#endif

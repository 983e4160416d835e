/* Signals: see os.h. Through the C library, which adds what the kernel wants to a handler's registration. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "os/fault.h"
#include "os/os.h"
#include "os/syscall.h"

int os_signal_action(int number, const struct sigaction *action, struct sigaction *before)
{
	int saved_errno = errno;
	int error = os_fault(OS_CALL_SIGNAL_ACTION);

	if (error != 0)
		return error;
	error = sigaction(number, action, before) == 0 ? 0 : -errno;

	errno = saved_errno;
	return error;
}

void os_signal_default(int number)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	os_signal_action(number, &action, NULL);
}

void os_signal_raise(int number)
{
	SYSCALL3(SYS_tgkill, os_process_id(), os_thread_id(), number);
}

void os_signals_block(const sigset_t *set, int number)
{
	sigset_t all = *set;

	if (number != 0)
		sigaddset(&all, number);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

void os_signals_hold(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, before);
}

void os_signals_restore(const sigset_t *before)
{
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

void os_signal_stack(void *start, size_t bytes)
{
	stack_t stack = { .ss_sp = start, .ss_size = bytes };
	stack_t before;

	if (syscall_failed(SYSCALL2(SYS_sigaltstack, NULL, &before)) || (before.ss_flags & SS_DISABLE) == 0)
		return;
	SYSCALL2(SYS_sigaltstack, &stack, NULL);
}

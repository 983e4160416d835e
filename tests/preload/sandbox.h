/* A sandbox that a program enters by itself. */
#ifndef QUARRY_TESTS_PRELOAD_SANDBOX_H
#define QUARRY_TESTS_PRELOAD_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* musl's gcc doesn't find the kernel's headers. */
#if __has_include(<linux/filter.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#else
enum { SECCOMP_RET_KILL_PROCESS = 0, SECCOMP_RET_ALLOW = 1, SECCOMP_RET_ERRNO = 2, SECCOMP_FILTER_FLAG_TSYNC = 1 };
#endif

/* What every sandbox allows, and `more`; with any other call the filter does `action` from now on. flags:
 * SECCOMP_FILTER_FLAG_TSYNC for all threads, 0 for the calling one and those that it makes. False if it can't be set up. */
static inline bool enter_sandbox_by(unsigned action, const int *more, size_t more_count, unsigned flags)
{
#if defined(SECCOMP_SET_MODE_FILTER) && (defined(__x86_64__) || defined(__aarch64__))
	static const int allowed[] = { SYS_read, SYS_write, SYS_exit, SYS_exit_group, SYS_mmap, SYS_munmap, SYS_mremap,
		                       SYS_madvise, SYS_mprotect, SYS_futex, SYS_rt_sigreturn, SYS_clock_gettime };
	enum { ALLOWED = sizeof(allowed) / sizeof(allowed[0]) };
	struct sock_filter code[64];
	size_t length = 0, count = ALLOWED + more_count;

	code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++)
		code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
		                                              i < ALLOWED ? allowed[i] : more[i - ALLOWED], count - i, 0);
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { length, code };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) == 0;
#else
	(void)action, (void)more, (void)more_count, (void)flags;
	return false;
#endif
}

/* The strictest: any other call kills. */
static inline bool enter_sandbox(void)
{
	return enter_sandbox_by(SECCOMP_RET_KILL_PROCESS, NULL, 0, 0);
}

#endif

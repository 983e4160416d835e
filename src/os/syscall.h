/* A system call without the C library: no errno, no interposition, no relocation. For src/os/ alone. */
#ifndef QUARRY_OS_SYSCALL_H
#define QUARRY_OS_SYSCALL_H

#include <fcntl.h>
#include <sys/syscall.h>

#include "base/compiler.h"
#include "os/fault.h"

#if defined(__x86_64__)

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
	                 : "+r"(x0)
	                 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
	                 : "memory");
	return x0;
}

#else

#include <errno.h>
#include <unistd.h>

static inline long syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long result = syscall(number, a, b, c, d, e, f);

	if (result == -1)
		result = -errno;
	errno = saved;
	return result;
}

#endif

#define SYSCALL1(number, a) syscall6(number, (long)(a), 0, 0, 0, 0, 0)
#define SYSCALL2(number, a, b) syscall6(number, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYSCALL3(number, a, b, c) syscall6(number, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYSCALL4(number, a, b, c, d) syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYSCALL5(number, a, b, c, d, e) syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYSCALL6(number, a, b, c, d, e, f) \
	syscall6(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* The kernel's convention: -4095 to -1 are errors. */
static inline bool syscall_failed(long result)
{
	return (unsigned long)result >= (unsigned long)-4095L;
}

/* Opens a file to read it; a descriptor, or a negative errno. `flags`: further ones of openat(2). */
static inline long syscall_open_read(const char *path, int flags)
{
	int error = os_fault(OS_CALL_OPEN);

	return error != 0 ? error : SYSCALL4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags, 0);
}

#endif

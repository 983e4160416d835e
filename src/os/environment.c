/* What the process was started with, its limits and its clock: see os.h. */
#include <elf.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "os/os.h"
#include "os/syscall.h"

/* Where the kernel put argc, argv and the environment; from the dynamic loader, or from libc.a. Set before any code
 * of a program runs, also before ifunc resolvers, when `environ` is still NULL. Absent in musl. */
extern void *__libc_stack_end __attribute__((weak));
extern char **environ;

#define ARGUMENTS_MAX (1L << 24)

static char **initial_environment(void)
{
	if (environ != NULL || &__libc_stack_end == NULL || __libc_stack_end == NULL)
		return environ;
	long *stack = __libc_stack_end;
	long count = stack[0];
	if (count < 0 || count > ARGUMENTS_MAX || stack[1 + count] != 0)
		return NULL;
	return (char **)&stack[count + 2];
}

const char *os_environment(const char *name)
{
	size_t length = strlen(name);
	char **entry = initial_environment();

	for (; entry != NULL && *entry != NULL; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	return NULL;
}

/* 1 is GRND_NONBLOCK. */
void os_random(void *to, size_t bytes)
{
	const unsigned char *given = (const unsigned char *)getauxval(AT_RANDOM);
	uint64_t mixed = (uintptr_t)to ^ os_now_ns() << 20;

	if (SYSCALL3(SYS_getrandom, to, bytes, 1) == (long)bytes)
		return;
	for (size_t i = 0; i < bytes; i++) {
		mixed = (mixed ^ (given != NULL ? given[i % 16] : 0) ^ os_now_ns()) * 0x9e3779b97f4a7c15u;
		((unsigned char *)to)[i] = (unsigned char)(mixed >> 56);
	}
}

bool os_is_secure(void)
{
	return getauxval(AT_SECURE) != 0;
}

uint64_t os_memory_bytes(void)
{
	struct sysinfo info;

	if (syscall_failed(SYSCALL1(SYS_sysinfo, &info)))
		return 0;
	return (uint64_t)info.totalram * info.mem_unit;
}

static uint64_t limit_of(int resource)
{
	struct rlimit limit;

	if (syscall_failed(SYSCALL4(SYS_prlimit64, 0, resource, NULL, &limit)) || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

uint64_t os_address_space_limit(void)
{
	return limit_of(RLIMIT_AS);
}

uint64_t os_data_limit(void)
{
	return limit_of(RLIMIT_DATA);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t os_now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE) / 1000000;
}

uint64_t os_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

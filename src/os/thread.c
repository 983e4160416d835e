/* Threads, sleeping, the end of the process, and what an address belongs to: see os.h and base/port.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "base/port.h"
#include "base/text.h"
#include "os/fault.h"
#include "os/os.h"
#include "os/syscall.h"

/* Not from the kernel's headers, which need not be there. */
enum { FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129 };

/* Start of main's stack; from the dynamic loader, absent in musl. */
extern void *__libc_stack_end __attribute__((weak));

void port_futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
	SYSCALL4(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL);
}

void port_futex_wake(_Atomic uint32_t *word, uint32_t count)
{
	SYSCALL3(SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}

int os_process_id(void)
{
	return (int)SYSCALL1(SYS_getpid, 0);
}

/* glibc's. A handler that is registered while others run comes next; exit, called from it, goes on with those left. */
extern int on_exit(void (*handler)(int status, void *argument), void *argument) __attribute__((weak));

static void on_exit_status(int status, void *wanted)
{
	if (status == 0)
		exit((int)(intptr_t)wanted);
}

void os_exit_with(int status)
{
	if (on_exit != NULL)
		on_exit(on_exit_status, (void *)(intptr_t)status);
}

uintptr_t port_thread_self(void)
{
	return (uintptr_t)pthread_self();
}

void port_abort(void)
{
	abort();
}

int os_thread_id(void)
{
	return (int)syscall6(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* Where in its control block a thread's kernel id stands, from port_thread_self(); 0 if that isn't known. */
static _Atomic size_t thread_id_offset;

/* glibc's struct pthread (2.3 to 2.42 at least) has the id before the head of the list of robust mutexes, and that list
 * is empty at the start: two words that point to the head itself. musl has it elsewhere, and is asked each time. */
void os_thread_id_learn(void)
{
	enum { WORDS = 256 };
	uintptr_t self = (uintptr_t)pthread_self();
	const uintptr_t *words = (const uintptr_t *)self;
	uint32_t id = (uint32_t)os_thread_id();

	if (&__libc_stack_end == NULL)
		return;
	for (size_t i = 1; i < WORDS; i++)
		if ((uint32_t)words[i - 1] == id && words[i] == (uintptr_t)&words[i + 1] &&
		    words[i + 1] == (uintptr_t)&words[i + 1])
			atomic_store_explicit(&thread_id_offset, (i - 1) * sizeof(uintptr_t), memory_order_relaxed);
}

int os_thread_id_quick(void)
{
	size_t offset = atomic_load_explicit(&thread_id_offset, memory_order_relaxed);

	return offset != 0 ? *(const volatile int *)((uintptr_t)pthread_self() + offset) : os_thread_id();
}

void os_thread_name(char name[16])
{
	if (syscall_failed(SYSCALL2(SYS_prctl, PR_GET_NAME, name)))
		name[0] = 0;
	name[15] = 0;
}

void os_thread_name_of(int id, char name[16])
{
	char path[64];
	struct text text = text_over(path, sizeof(path));

	text_format(&text, "/proc/self/task/%u/comm", (uint64_t)id);
	long length = os_file_content(path, name, 16);
	/* The kernel adds a newline. */
	name[length > 0 ? length - 1 : 0] = 0;
}

/* The kernel leaves at least 128 MiB below main's stack free of mappings (mmap_base), so this much is only stack. */
#define MAIN_STACK_BYTES ((uintptr_t)64 << 20)

/* Where main's stack ends. Without glibc's word for it: the kernel puts the program's name at its very end. */
static uintptr_t main_stack_end(void)
{
	return &__libc_stack_end != NULL ? (uintptr_t)__libc_stack_end : getauxval(AT_EXECFN);
}

bool os_is_own_stack(const void *address)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	uintptr_t there = (uintptr_t)address;
	uintptr_t self = (uintptr_t)pthread_self();

	if (there < here)
		return false;
	uintptr_t end = main_stack_end();
	if (here < end && end - here < MAIN_STACK_BYTES)
		return there < end;
	/* glibc and musl put a thread's control block above its stack. Code that runs on a stack of its own making (a
	 * coroutine's) may be below that too: then the attributes say so. They are asked last, they may allocate. */
	if (here >= self || there >= self)
		return false;
	pthread_attr_t attributes;
	void *low;
	size_t bytes;
	if (pthread_getattr_np(pthread_self(), &attributes) != 0)
		return false;
	bool known = pthread_attr_getstack(&attributes, &low, &bytes) == 0;
	pthread_attr_destroy(&attributes);
	return known && here >= (uintptr_t)low && there < (uintptr_t)low + bytes;
}

/* More than this above a thread's stack pointer is not its stack. */
#define THREAD_STACK_BYTES ((uintptr_t)1 << 30)

uintptr_t os_stack_end(uintptr_t here)
{
	uintptr_t end = main_stack_end();
	uintptr_t self = (uintptr_t)pthread_self();

	if (here < end && end - here < MAIN_STACK_BYTES)
		return end;
	return here < self && self - here < THREAD_STACK_BYTES ? self : 0;
}

struct start {
	bool (*run)(void);
	const char *name;
	sigset_t mask;                  /* of who started it */
};

static void *thread_main(void *argument)
{
	/* Whoever starts the next one overwrites it. */
	struct start start = *(struct start *)argument;

	SYSCALL2(SYS_prctl, PR_SET_NAME, start.name);
	/* Exit handlers run here now, and what they start inherits the mask. */
	if (start.run())
		pthread_sigmask(SIG_SETMASK, &start.mask, NULL);
	return NULL;
}

/* What comes from outside. What a thread's own instructions and system calls raise would kill it if it were blocked,
 * where a program's handler could answer: a sandbox's SIGSYS. */
static void fill_with_foreign(sigset_t *signals)
{
	static const int own[] = { SIGSYS, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };

	sigfillset(signals);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(signals, own[i]);
}

bool os_thread_start(bool (*run)(void), const char *name)
{
	/* One at a time runs, and the next is started after it has read this. */
	static struct start start;
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t foreign, before;
	int saved_errno = errno;

	if (os_fault(OS_CALL_THREAD_START) != 0)
		return false;
	if (pthread_attr_init(&attributes) != 0) {
		errno = saved_errno;
		return false;
	}
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Not the priority of a real-time thread that happens to start it. */
	pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
	/* Room for the program's thread-local storage, which glibc puts there, and for exit handlers; address space only. */
	pthread_attr_setstacksize(&attributes, (size_t)1024 * 1024);
	fill_with_foreign(&foreign);
	pthread_sigmask(SIG_SETMASK, &foreign, &before);
	start = (struct start){ run, name, before };
	int error = pthread_create(&thread, &attributes, thread_main, &start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	errno = saved_errno;
	return error == 0;
}

void os_futex_wait_ms(_Atomic uint32_t *word, uint32_t expected, uint64_t milliseconds)
{
	struct timespec time = { .tv_sec = (time_t)(milliseconds / 1000), .tv_nsec = (long)(milliseconds % 1000) * 1000000 };

	SYSCALL4(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &time);
}

void os_pause(void)
{
	struct timespec time = { .tv_nsec = 100000 };
	static _Atomic uint32_t never;

	SYSCALL4(SYS_futex, &never, FUTEX_WAIT_PRIVATE, 0, &time);
}

bool os_is_first_thread(void)
{
	return os_thread_id() == SYSCALL1(SYS_getpid, 0);
}

/* glibc 2.32 and later. */
extern char __libc_single_threaded __attribute__((weak));

bool os_is_single_threaded(bool unsaid)
{
	return &__libc_single_threaded != NULL ? __libc_single_threaded != 0 : unsaid;
}

const char *os_single_threaded_flag(void)
{
	static const char unsaid;

	return &__libc_single_threaded != NULL ? &__libc_single_threaded : &unsaid;
}

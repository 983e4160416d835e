/* What the tests of the core share: how much to do, random numbers that can be repeated, children that are waited for,
 * and a check for threads and children, where cmocka's asserts can't be used. */
#ifndef QUARRY_TESTS_MODEL_SUPPORT_H
#define QUARRY_TESTS_MODEL_SUPPORT_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/compiler.h"
#include "base/memcheck.h"
#include "os/os.h"
#include "space/span.h"

/* Ends the process unless it holds: for threads, children, and inside of callbacks. */
#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* ThreadSanitizer has limits of its own: a child of a program with threads can't start any, and in the last round of a
 * thread's destructors it has forgotten the thread. */
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#ifndef THREAD_SANITIZED
#define THREAD_SANITIZED 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZED 1
#endif
#endif
#ifndef ADDRESS_SANITIZED
#define ADDRESS_SANITIZED 0
#endif

/* In the child of a fork of many threads: gcc's ThreadSanitizer refuses, and AddressSanitizer's own allocator, which
 * pthread_create uses, may have been locked by a thread that is gone. */
#define CHILD_MAY_START_THREADS (!THREAD_SANITIZED && !ADDRESS_SANITIZED)

/* A test that can't be made under a tool; `why` says what of the tool is in the way. */
static inline void skip_where(bool condition, const char *why)
{
	if (!condition)
		return;
	print_message("# skipped: %s\n", why);
	skip();
}

/* Under an emulator of user programs, which scripts/machines names, not all that the kernel does is to be had. */
static inline const char *emulator(void)
{
	return getenv("QUARRY_TEST_EMULATOR");
}

#define SKIP_EMULATED(what) \
	do { \
		if (emulator() != NULL) { \
			print_message("# skipped: %s: %s\n", emulator(), what); \
			skip(); \
		} \
	} while (0)

/* In a slab of one page nothing can go back but the whole. */
#define SKIP_PAGES_AS_SLABS(what) \
	do { \
		if (os_page_bytes() >= UNIT_BYTES) { \
			print_message("# skipped: pages are as large as units: %s\n", what); \
			skip(); \
		} \
	} while (0)

/* Configured with --with-page-bytes: where the kernel's own pages show. */
#define SKIP_COUNTED_PAGES(what) \
	do { \
		if (os_page_bytes() != os_kernel_page_bytes()) { \
			print_message("# skipped: the kernel's pages are smaller: %s\n", what); \
			skip(); \
		} \
	} while (0)

/* What a child said, without what the emulator adds where it ends by a signal. */
static inline void without_emulator(char *said)
{
	char *line = strstr(said, "qemu: uncaught target signal");

	if (emulator() != NULL && line != NULL)
		*line = 0;
}

/* How many times slower than usual everything is: sanitizers, valgrind. */
static inline unsigned slowdown(void)
{
	const char *text = getenv("QUARRY_TEST_SLOWDOWN");
	unsigned factor = text != NULL ? (unsigned)atoi(text) : 1;

	return factor > 0 ? factor : 1;
}

/* The whole of a test program that makes calls fail, in builds where none can be made to. */
static inline void test_debug_builds_only(void **state UNUSED)
{
	print_message("# skipped: debug builds alone can make a call fail\n");
	skip();
}

static inline int debug_builds_only(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_debug_builds_only) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* How often to do what is done `native` times at full speed, at least `least` times. */
static inline size_t rounds(size_t native, size_t least)
{
#ifdef QUARRY_DEBUG
	native /= 8;            /* every step checks the invariants */
#endif
	return max_size(native / slowdown(), least);
}

static inline void sleep_ms(long milliseconds)
{
	nanosleep(&(struct timespec){ .tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000 }, NULL);
}

/* What was given back by tests before is not needed again. */
static inline void forget_given_back(void)
{
	lock_take(&space_lock);
	for (int i = 0; i < 64; i++)
		span_forget_given_back();
	lock_release(&space_lock);
}

/* The same value, of which the compiler knows nothing: it warns of sizes that no object can have. */
static inline size_t hide(size_t value)
{
	__asm__("" : "+r"(value));
	return value;
}

/* Xorshift64*, one state per thread that draws. */
struct random {
	uint64_t state;
};

/* The seed is said, so that a failure can be repeated: QUARRY_TEST_SEED overrides it. */
static inline struct random random_start(uint64_t seed)
{
	const char *text = getenv("QUARRY_TEST_SEED");

	if (text != NULL)
		seed = strtoull(text, NULL, 0);
	print_message("# seed %ju\n", (uintmax_t)seed);
	return (struct random){ .state = seed * 0x9e3779b97f4a7c15u | 1 };
}

static inline uint64_t random_next(struct random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * 0x2545f4914f6cdd1du;
}

/* In [0, bound). */
static inline size_t random_below(struct random *random, size_t bound)
{
	return (size_t)((random_next(random) >> 11) % bound);
}

/* Runs `body` in a child, its standard error going to `error` (may be NULL: not caught), and returns its wait status;
 * the body's end is status 0. */
static inline int child_run(void (*body)(void *argument), void *argument, char *error, size_t capacity)
{
	int ends[2];
	int status;
	size_t length = 0;

	fflush(NULL);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (error != NULL)
			dup2(ends[1], STDERR_FILENO);
		/* cmocka's handlers would go on with the next test. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		body(argument);
		_exit(0);
	}
	close(ends[1]);
	while (error != NULL && length + 1 < capacity) {
		ssize_t got = read(ends[0], error + length, capacity - 1 - length);
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	if (error != NULL) {
		error[length] = 0;
		without_emulator(error);
	}
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

#define ASSERT_EXITED(status) \
	do { \
		int status_ = (status); \
		if (!WIFEXITED(status_) || WEXITSTATUS(status_) != 0) \
			fail_msg("the child ended with wait status %#x", (unsigned)status_); \
	} while (0)

#endif

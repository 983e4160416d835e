/* System call filters that are added: seen, by calls that every sandbox allows; and nothing of the program's is taken. */
#include "model/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "os/os.h"
#include "preload/sandbox.h"

static struct os_filters filters;
static size_t open_before;

static size_t open_count(void)
{
	DIR *entries = opendir("/proc/self/fd");
	size_t count = 0;

	MUST(entries != NULL);
	while (readdir(entries) != NULL)
		count++;
	closedir(entries);
	return count;
}

static int setup(void **state UNUSED)
{
	open_before = open_count();
	return os_filters_open(&filters) ? 0 : 1;
}

static int teardown(void **state UNUSED)
{
	os_filters_close(&filters);
	return open_count() == open_before ? 0 : 1;
}

static void same(void)
{
	for (int i = 0; i < 3; i++)
		MUST(os_filters_look(&filters) == OS_FILTERS_SAME);
}

static void test_files(void **state UNUSED)
{
	int numbers[] = { filters.status.number, filters.guard.number };

	assert_int_equal(open_count(), open_before + 2);
	for (size_t i = 0; i < 2; i++) {
		assert_in_range(numbers[i], 40, 1023);
		assert_int_equal(fcntl(numbers[i], F_GETFD), FD_CLOEXEC);
	}
	assert_int_equal(numbers[1], numbers[0] + 1);
	same();
	assert_int_equal(open_count(), open_before + 2);
}

/* ---- Filters ---- */

struct child {
	void (*body)(void *argument);
	void *argument;
};

/* What its parent's thread is under is not the child's. */
static void child_main(void *argument)
{
	struct child *child = argument;

	os_filters_close(&filters);
	MUST(os_filters_open(&filters));
	child->body(child->argument);
}

static void in_child(void (*body)(void *argument), void *argument)
{
	struct child child = { body, argument };
	char said[4096];
	int status = child_run(child_main, &child, said, sizeof(said));

	skip_where(strstr(said, "no seccomp") != NULL, "no seccomp here");
	if (status != 0)
		print_message("%s", said);
	assert_int_equal(status, 0);
}

static void add(unsigned action, unsigned flags)
{
	if (!enter_sandbox_by(action, NULL, 0, flags)) {
		fputs("no seccomp", stderr);
		_exit(0);
	}
}

static void strict_child(void *argument UNUSED)
{
	same();
	add(SECCOMP_RET_KILL_PROCESS, 0);
	for (int i = 0; i < 3; i++)
		if (os_filters_look(&filters) == OS_FILTERS_SAME)
			_exit(1);
	_exit(0);
}

/* Any call but those of each sandbox would kill. */
static void test_strict(void **state UNUSED)
{
	skip_where(ADDRESS_SANITIZED || THREAD_SANITIZED, "sanitizers make calls of their own");
	in_child(strict_child, NULL);
}

static void open_child(void *argument UNUSED)
{
	same();
	add(SECCOMP_RET_ALLOW, 0);
	MUST(os_filters_look(&filters) == OS_FILTERS_ADDED);
	/* One more. */
	os_filters_close(&filters);
	MUST(os_filters_open(&filters));
	same();
	add(SECCOMP_RET_ALLOW, 0);
	MUST(os_filters_look(&filters) == OS_FILTERS_ADDED);
}

static void test_one_more(void **state UNUSED)
{
	in_child(open_child, NULL);
}

static void *add_in_thread(void *flags)
{
	add(SECCOMP_RET_ALLOW, (unsigned)(uintptr_t)flags);
	return NULL;
}

static void threads_child(void *flags)
{
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, add_in_thread, flags) == 0);
	pthread_join(thread, NULL);
	MUST(os_filters_look(&filters) == (flags != NULL ? OS_FILTERS_ADDED : OS_FILTERS_SAME));
}

/* What another thread sets up counts if it is for all. */
static void test_of_other_threads(void **state UNUSED)
{
	skip_where(THREAD_SANITIZED, "ThreadSanitizer's children start no threads");
	in_child(threads_child, NULL);
	in_child(threads_child, (void *)(uintptr_t)SECCOMP_FILTER_FLAG_TSYNC);
}

/* ---- A program that uses the numbers itself ---- */

#define TEXT "the program's own"

static int made(int kind)
{
	static const char zeros[64];
	int file = kind == 0 ? open("/dev/null", O_RDWR) : kind == 1 ? open("/dev/zero", O_RDONLY) : memfd_create("test", 0);

	MUST(file >= 0);
	if (kind == 3)
		MUST(write(file, zeros, sizeof(zeros)) == sizeof(zeros));
	return file;
}

/* As guard nothing, or what can't be mapped, or can and holds zeros, or is empty. */
static void lost_child(void *argument)
{
	int kind = (int)(intptr_t)argument;
	int ends[2];
	char text[sizeof(TEXT)] = "";

	MUST(pipe(ends) == 0 && write(ends[1], TEXT, sizeof(TEXT)) == sizeof(TEXT));
	MUST(dup2(ends[0], filters.status.number) >= 0);
	close(filters.guard.number);
	if (kind >= 0)
		MUST(dup2(made(kind), filters.guard.number) >= 0);
	for (int i = 0; i < 3; i++)
		MUST(os_filters_look(&filters) == OS_FILTERS_LOST);
	MUST(read(ends[0], text, sizeof(text)) == sizeof(text) && strcmp(text, TEXT) == 0);
	/* Nor is anything of its closed. */
	os_filters_close(&filters);
}

static void test_lost(void **state UNUSED)
{
	for (intptr_t kind = -1; kind < 4; kind++)
		in_child(lost_child, (void *)kind);
}

static void kept_child(void *argument UNUSED)
{
	int status = filters.status.number, guard = filters.guard.number;

	MUST(dup2(made(0), status) >= 0 && dup2(made(0), guard) >= 0);
	os_filters_close(&filters);
	MUST(fcntl(status, F_GETFD) >= 0 && fcntl(guard, F_GETFD) >= 0);
}

static void test_not_closed(void **state UNUSED)
{
	in_child(kept_child, NULL);
}

/* ---- Where it can't be told ---- */

static void short_child(void *argument UNUSED)
{
	struct rlimit none = { 0 }, few = { 20, 20 };
	struct os_filters others;
	size_t count = open_count();

	/* A write beyond the first limit would end the process. */
	MUST(setrlimit(RLIMIT_FSIZE, &none) == 0);
	MUST(!os_filters_open(&others));
	MUST(open_count() == count);
	/* Valgrind lets nobody lower this one. */
	if (setrlimit(RLIMIT_NOFILE, &few) == 0)
		MUST(!os_filters_open(&others));
	MUST(open_count() == count);
	os_filters_close(&others);
	same();
}

static void test_limits(void **state UNUSED)
{
	in_child(short_child, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strict, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_more, setup, teardown),
		cmocka_unit_test_setup_teardown(test_of_other_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

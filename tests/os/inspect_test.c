/* The process from inside: mappings, pages, copies of what may not be there, threads, and stopping them. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "os/os.h"

static size_t page;

/* ---- Mappings and pages */

struct wanted {
	uintptr_t start;
	struct os_mapping found;
	size_t count;
	bool in_order;
	uintptr_t end;
};

static bool mapping_note(const struct os_mapping *mapping, void *context)
{
	struct wanted *wanted = context;

	if (mapping->start < wanted->end || mapping->end <= mapping->start)
		wanted->in_order = false;
	wanted->end = mapping->end;
	wanted->count++;
	if (wanted->start - mapping->start < mapping->end - mapping->start)
		wanted->found = *mapping;
	return true;
}

static struct os_mapping mapping_of(const void *address)
{
	struct wanted wanted = { .start = (uintptr_t)address, .in_order = true };

	assert_int_equal(os_mappings(mapping_note, &wanted), 0);
	assert_true(wanted.in_order);
	return wanted.found;
}

static bool stop_at_once(const struct os_mapping *mapping UNUSED, void *count)
{
	++*(size_t *)count;
	return false;
}

static void mappings(void **state UNUSED)
{
	int here;
	char *shared = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *none = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t count = 0;

	skip_where(MEMCHECK_BUILD, "valgrind has the main thread's stack elsewhere");
	assert_true(mapping_of(&here).is_main_stack);
	assert_false(mapping_of(&page).is_main_stack);
	assert_true(mapping_of(&page).readable);
	assert_false(mapping_of(&page).shared);
	assert_true(mapping_of(shared).shared);
	assert_int_equal(mapping_of(shared).end - mapping_of(shared).start, 3 * page);
	assert_false(mapping_of(none).readable);
	assert_int_equal(os_mappings(stop_at_once, &count), -ENOMEM);
	assert_int_equal(count, 1);
	munmap(shared, 3 * page);
	munmap(none, page);
}

/* More lines than one read gives, and one with a path as long as a path can be. */
static void long_list(void **state UNUSED)
{
	char path[256] = "/tmp/";
	char *pages = mmap(NULL, 1000 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(path + 5, 'x', 200);
	strcpy(path + 205, ".XXXXXX");
	int file = mkstemp(path);
	if (file < 0 || ftruncate(file, (off_t)page) != 0) {
		skip();
		return;
	}
	for (size_t i = 0; i < 1000; i += 4) {
		assert_ptr_not_equal(mmap(pages + i * page, page, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0), MAP_FAILED);
		mprotect(pages + (i + 2) * page, page, PROT_READ | PROT_WRITE);
	}
	unlink(path);
	struct wanted wanted = { .in_order = true };
	assert_int_equal(os_mappings(mapping_note, &wanted), 0);
	assert_true(wanted.in_order);
	assert_true(wanted.count >= 1000);
	for (size_t i = 0; i < 1000; i += 100) {
		assert_int_equal(mapping_of(pages + i * page).start, (uintptr_t)pages + i * page);
		assert_true(mapping_of(pages + i * page).readable);
		assert_false(mapping_of(pages + (i + 1) * page).readable);
	}
	munmap(pages, 1000 * page);
	close(file);
}

static void pages_own(void **state UNUSED)
{
	SKIP_COUNTED_PAGES("pagemap tells of those");
	unsigned char own[300];
	char *pages = mmap(NULL, 300 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file = os_pages_open();

	if (file < 0) {
		skip();
		return;
	}
	madvise(pages, 300 * page, MADV_NOHUGEPAGE);
	pages[5 * page] = 1;
	pages[7 * page + 1] = 1;
	assert_int_equal(os_pages_own(file, (uintptr_t)pages, 300, own), 256);
	for (size_t i = 0; i < 256; i++)
		assert_int_equal(own[i], i == 5 || i == 7);
	/* Code that nobody has written to. */
	assert_int_equal(os_pages_own(file, ROUND_DOWN((uintptr_t)&os_pages_own, page), 1, own), 1);
	assert_int_equal(own[0], 0);
	os_pages_close(file);
	munmap(pages, 300 * page);
}

static void copies(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	static char to[4 * 65536];
	char *pages = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page > 65536)
		return;
	memset(pages, 3, 4 * page);
	assert_int_equal(os_copy(to, (uintptr_t)pages + 1, 4 * page - 1), 4 * page - 1);
	assert_int_equal(to[4 * page - 2], 3);
	mprotect(pages + 2 * page, page, PROT_NONE);
	assert_int_equal(os_copy(to, (uintptr_t)pages + 10, 4 * page - 10), 2 * page - 10);
	assert_int_equal(os_copy(to, (uintptr_t)pages + 2 * page, page), 0);
	munmap(pages, 4 * page);
	assert_int_equal(os_copy(to, (uintptr_t)pages, 1), 0);
}

/* ---- Threads */

#define THREADS 5

static _Atomic uint64_t counters[THREADS];
static _Atomic bool leave;
static _Atomic int ids[THREADS];

/* Keeps a value of its own in the registers. */
static uintptr_t value_of(size_t index)
{
	return 0x5a5a123400000000 + index;
}

static void *count(void *argument)
{
	size_t index = (size_t)(uintptr_t)argument;
	uintptr_t value = value_of(index);

	if (index == 0) {
		sigset_t all;
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, NULL);
	}
	ids[index] = os_thread_id();
	while (!leave) {
		counters[index]++;
		__asm__ volatile("" : "+r"(value));
	}
	return NULL;
}

static bool holds(const struct os_stopped *row, uintptr_t value)
{
	for (size_t i = 0; i < sizeof(row->registers) / sizeof(row->registers[0]); i++)
		if (row->registers[i] == value)
			return true;
	return false;
}

static const struct os_stopped *row_of(const struct os_stopped *rows, size_t row_count, int id)
{
	for (size_t i = 0; i < row_count; i++)
		if (rows[i].id == id)
			return &rows[i];
	return NULL;
}

static void *nothing(void *argument UNUSED)
{
	return NULL;
}

static void world(void **state UNUSED)
{
	SKIP_EMULATED("registers are not the machine's");
	static struct os_stopped rows[64];
	int room[128], listed[64];
	size_t deaf;
	uint64_t before[THREADS], blocked;
	pthread_t threads[THREADS];

	skip_where(MEMCHECK_BUILD, "threads take signals only between valgrind's pieces of code");
	/* ThreadSanitizer starts its helper with the first. */
	long helpers = THREAD_SANITIZED;
	assert_int_equal(pthread_create(&threads[0], NULL, nothing, NULL), 0);
	pthread_join(threads[0], NULL);
	while (os_threads(listed, 64) != 1 + helpers)
		sched_yield();
	assert_int_equal(os_world_stop(rows, room, 64, &deaf), 0);
	assert_int_equal(deaf, helpers);
	os_world_go();
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, (void *)(uintptr_t)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		while (counters[i] == 0)
			sched_yield();
	assert_int_equal(os_threads(listed, 64), 1 + helpers + THREADS);
	assert_int_equal(os_threads(listed, 2), 1 + helpers + THREADS);
	assert_true(os_thread_blocks(ids[0], &blocked));
	assert_true((blocked >> (SIGRTMAX - 1) & 1) != 0);
	assert_true(os_thread_blocks(ids[1], &blocked));
	assert_true((blocked >> (SIGUSR1 - 1) & 1) == 0);
	assert_false(os_thread_blocks(INT32_MAX, &blocked));

	for (int round = 0; round < 10; round++) {
		size_t stopped = os_world_stop(rows, room, 64, &deaf);
		assert_int_equal(stopped, THREADS - 1);
		assert_int_equal(deaf, helpers + 1);
		for (size_t i = 0; i < THREADS; i++)
			before[i] = counters[i];
		usleep(2000);
		for (size_t i = 1; i < THREADS; i++) {
			const struct os_stopped *row = row_of(rows, stopped, ids[i]);
			assert_int_equal(counters[i], before[i]);
			assert_non_null(row);
			uintptr_t self = (uintptr_t)threads[i];
			assert_true(row->stack < self && self - row->stack < 8 * MIB);
#ifdef __OPTIMIZE__
			if (slowdown() == 1)
				assert_true(holds(row, value_of(i)));
#endif
		}
		os_world_go();
		for (size_t i = 0; i < THREADS; i++)
			while (counters[i] == before[i])
				sched_yield();
	}
	leave = true;
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	(void)holds;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings), cmocka_unit_test(long_list), cmocka_unit_test(pages_own),
		cmocka_unit_test(copies), cmocka_unit_test(world),
	};

	page = os_page_bytes();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

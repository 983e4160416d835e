/* Memory from the system: what each call promises, seen from the outside. */
#include "model/support.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <sys/resource.h>

#include "base/memcheck.h"
#include "os/os.h"

/* Pages of each range here. */
#define PAGE_COUNT ((size_t)16)

static size_t page;

static char *reserve(size_t pages)
{
	char *memory = os_reserve(pages * page);

	assert_non_null(memory);
	return memory;
}

static char *memory_of(size_t pages)
{
	char *memory = reserve(pages);

	assert_int_equal(os_commit(memory, pages * page), 0);
	return memory;
}

/* Every page holds a text of its own. */
static void mark(char *memory, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		snprintf(memory + i * page, 32, "page %zu", i);
}

static void assert_marked(const char *memory, size_t pages)
{
	char expected[32];

	for (size_t i = 0; i < pages; i++) {
		snprintf(expected, sizeof(expected), "page %zu", i);
		assert_string_equal(memory + i * page, expected);
	}
}

static void assert_zero(const char *memory, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (memory[i] != 0)
			fail_msg("byte %zu of %zu is %#x", i, bytes, memory[i]);
}

/* Mappings that touch [memory, memory + bytes). */
static size_t vma_count(const void *memory, size_t bytes)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uintptr_t from, to;
	size_t count = 0;
	char line[4096];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL)
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < (uintptr_t)memory + bytes && to > (uintptr_t)memory)
			count++;
	fclose(maps);
	return count;
}

struct touch {
	volatile char *address;
	bool write;
};

static void touch(void *argument)
{
	struct touch *what = argument;

	if (what->write)
		*what->address = 1;
	else
		(void)*what->address;
}

static bool is_accessible(char *address, bool write)
{
	struct touch what = { address, write };
	char said[4096];
	int status = child_run(touch, &what, said, sizeof(said));

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void test_page_size(void **state UNUSED)
{
	SKIP_COUNTED_PAGES("so it was configured");
	assert_int_equal(os_page_bytes(), sysconf(_SC_PAGESIZE));
}

static void test_reserve_and_commit(void **state UNUSED)
{
	char *memory = reserve(PAGE_COUNT);

	assert_false(is_accessible(memory, false));
	assert_int_equal(os_commit(memory + page, 2 * page), 0);
	assert_zero(memory + page, 2 * page);
	mark(memory + page, 2);
	assert_marked(memory + page, 2);
	assert_false(is_accessible(memory, false));
	assert_false(is_accessible(memory + 3 * page, false));
	os_unmap(memory, PAGE_COUNT * page);
	assert_false(is_accessible(memory + page, false));
}

/* Far more than there is: address space only. Too much of that is an answer as well. */
static void test_reserve_much(void **state UNUSED)
{
	size_t bytes = 64 * GIB;
	void *memory = os_reserve(bytes);

	if (memory == NULL) {
		print_message("# skipped: no 64 GiB of address space here\n");
		skip();
	}
	os_unmap(memory, bytes);
	errno = 4711;
	assert_null(os_reserve((size_t)1 << 62));
	assert_int_equal(errno, 4711);
}

static void test_protect(void **state UNUSED)
{
	char *memory = memory_of(3);

	mark(memory, 3);
	assert_int_equal(os_protect_none(memory + page, page), 0);
	assert_false(is_accessible(memory + page, false));
	assert_true(is_accessible(memory, true));
	assert_true(is_accessible(memory + 2 * page, true));
	assert_int_equal(os_protect_read(memory + page, page), 0);
	assert_true(is_accessible(memory + page, false));
	assert_false(is_accessible(memory + page, true));
	assert_int_equal(os_commit(memory + page, page), 0);
	assert_true(is_accessible(memory + page, true));
	assert_marked(memory, 3);
	os_unmap(memory, 3 * page);
}

static void test_errors_are_returned(void **state UNUSED)
{
	SKIP_EMULATED("advice for what is not mapped succeeds");
	char *memory = reserve(2);

	os_unmap(memory, 2 * page);
	errno = 4711;
	assert_int_equal(os_commit(memory, page), -ENOMEM);
	assert_int_equal(os_protect_none(memory, page), -ENOMEM);
	assert_int_equal(os_purge(memory, page), -ENOMEM);
	assert_int_equal(os_commit(memory + 1, page), -EINVAL);
	assert_int_equal(errno, 4711);
}

static void test_purge_reads_zero(void **state UNUSED)
{
	char *memory = memory_of(PAGE_COUNT);

	mark(memory, PAGE_COUNT);
	assert_int_equal(os_purge(memory + 3 * page, 2 * page), 0);
	assert_marked(memory, 3);
	assert_zero(memory + 3 * page, 2 * page);
	assert_string_equal(memory + 5 * page, "page 5");
	os_unmap(memory, PAGE_COUNT * page);
}

static void test_resident_bytes(void **state UNUSED)
{
	SKIP_COUNTED_PAGES("mincore tells of those");
	/* More pages than one call of mincore looks at. */
	size_t pages = 3 * 256 + 7;
	char *memory = memory_of(pages);
	size_t expected = 0;

	assert_int_equal(os_resident_bytes(memory, pages * page), 0);
	for (size_t i = 0; i < pages; i += 1 + i % 5, expected += page)
		memory[i * page] = 1;
	assert_int_equal(os_resident_bytes(memory, pages * page), expected);
	assert_int_equal(os_resident_bytes(memory, page), page);
	assert_int_equal(os_purge(memory, pages * page), 0);
	assert_int_equal(os_resident_bytes(memory, pages * page), 0);
	os_unmap(memory, pages * page);
	assert_int_equal(os_resident_bytes(memory, pages * page), pages * page);
}

/* ---- Moving ---- */

/* Whether the kernel can; the tests say so when it can't. */
static bool kernel_moves(void)
{
	char *from = memory_of(1);
	char *to = memory_of(1);
	int error = os_move(from, to, page);

	if (error == 0)
		error = os_move(to, from, page);
	os_unmap(from, page);
	os_unmap(to, page);
	if (error != 0)
		print_message("# skipped: mremap says %d\n", error);
	return error == 0;
}

static void test_move(void **state UNUSED)
{
	if (!kernel_moves())
		skip();
	char *from = memory_of(PAGE_COUNT);
	char *to = memory_of(PAGE_COUNT);

	mark(from, PAGE_COUNT);
	memset(to, 0xee, PAGE_COUNT * page);
	assert_int_equal(os_move(from, to, PAGE_COUNT * page), 0);
	assert_marked(to, PAGE_COUNT);
	assert_zero(from, PAGE_COUNT * page);
	mark(from, PAGE_COUNT);
	os_unmap(from, PAGE_COUNT * page);
	os_unmap(to, PAGE_COUNT * page);
}

/* A source of several mappings, cut at every page in turn, and at many. */
static void test_move_several_mappings(void **state UNUSED)
{
	if (!kernel_moves())
		skip();
	for (size_t cut = 1; cut < PAGE_COUNT; cut++) {
		char *from = memory_of(PAGE_COUNT);
		char *to = memory_of(PAGE_COUNT);
		char *other = memory_of(PAGE_COUNT);

		/* A page that came from elsewhere never merges with its neighbours. */
		for (size_t i = cut; i < PAGE_COUNT; i += cut + 1) {
			other[i * page] = 1;
			assert_int_equal(os_move(other + i * page, from + i * page, page), 0);
		}
		mark(from, PAGE_COUNT);
		assert_true(vma_count(from, PAGE_COUNT * page) > 1);
		assert_int_equal(os_move(from, to, PAGE_COUNT * page), 0);
		assert_marked(to, PAGE_COUNT);
		assert_zero(from, PAGE_COUNT * page);
		os_unmap(from, PAGE_COUNT * page);
		os_unmap(to, PAGE_COUNT * page);
		os_unmap(other, PAGE_COUNT * page);
	}
}

/* A source of many mappings, none of which merges with the next. */
static char *patchwork(void)
{
	char *memory = memory_of(PAGE_COUNT);
	char *other = memory_of(PAGE_COUNT);

	for (size_t i = 1; i < PAGE_COUNT; i += 2) {
		other[i * page] = 1;
		assert_int_equal(os_move(other + i * page, memory + i * page, page), 0);
	}
	assert_int_equal(vma_count(memory, PAGE_COUNT * page), PAGE_COUNT);
	mark(memory, PAGE_COUNT);
	return memory;
}

static bool is_mapped(const char *memory, size_t pages)
{
	/* For each of the kernel's pages. */
	unsigned char states[PAGE_COUNT * 16];

	return mincore((void *)(uintptr_t)memory, pages * page, states) == 0;
}

/* The move stops at a mapping that can't be moved, wherever that is: an error, all is where it was, and what was to be
 * replaced can still be used. (Since Linux 6.17 one call moves several mappings, and may fail half way.) */
static void test_move_fails_whole(void **state UNUSED)
{
	if (!kernel_moves())
		skip();
	for (size_t sealed = 0; sealed < PAGE_COUNT; sealed++) {
		char *from = patchwork();
		char *to = memory_of(PAGE_COUNT);

		if (os_seal(from + sealed * page, page) != 0) {
			print_message("# skipped: the kernel has no mseal\n");
			skip();
		}
		assert_true(os_move(from, to, PAGE_COUNT * page) < 0);
		assert_true(is_mapped(from, PAGE_COUNT));
		assert_true(is_mapped(to, PAGE_COUNT));
		assert_marked(from, PAGE_COUNT);
	}
}

/* How many more mappings there may be. */
static void *spare_maps[256];
static size_t spare_count;

/* Makes mappings until the kernel refuses, remembering the last ones. False if it never does. */
static bool use_up_maps(void)
{
	char *memory = mmap(NULL, 400000 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return false;
	for (size_t i = 0; i < 200000; i++) {
		if (mprotect(memory + 2 * i * page, page, PROT_READ) != 0)
			return i > 256;
		spare_maps[spare_count++ % 256] = memory + 2 * i * page;
	}
	return false;
}

enum { MOVE_NO_LIMIT = 3 };

/* With room for `slack` mappings. In a child: it ends with the process. */
static void move_at_the_limit(void *argument)
{
	size_t slack = *(size_t *)argument;
	char *from = patchwork();
	char *to = memory_of(PAGE_COUNT);
	char expected[32];

	if (!use_up_maps())
		_exit(MOVE_NO_LIMIT);
	for (size_t i = 0; i < slack; i++)
		munmap(spare_maps[--spare_count % 256], page);
	int error = os_move(from, to, PAGE_COUNT * page);
	MUST(is_mapped(from, PAGE_COUNT));
	MUST(is_mapped(to, PAGE_COUNT));
	for (size_t i = 0; i < PAGE_COUNT; i++) {
		snprintf(expected, sizeof(expected), "page %zu", i);
		MUST(strcmp((error == 0 ? to : from) + i * page, expected) == 0);
	}
}

/* vm.max_map_count is reached before, in the middle of, and after the move. */
static void test_move_without_room_for_mappings(void **state UNUSED)
{
	if (slowdown() > 1) {
		print_message("# skipped: too many system calls for this build\n");
		skip();
	}
	if (!kernel_moves())
		skip();
	for (size_t slack = 0; slack < 2 * PAGE_COUNT + 8; slack += 3) {
		int status = child_run(move_at_the_limit, &slack, NULL, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == MOVE_NO_LIMIT) {
			print_message("# skipped: the number of mappings has no limit that can be reached\n");
			skip();
		}
		ASSERT_EXITED(status);
	}
}

static void test_remap_fresh_merges(void **state UNUSED)
{
	SKIP_EMULATED("mappings are not the kernel's");
	if (!kernel_moves())
		skip();
	size_t bytes = PAGE_COUNT * page;
	char *memory = memory_of(PAGE_COUNT);
	char *other = memory_of(PAGE_COUNT);

	assert_int_equal(vma_count(memory, bytes), 1);
	mark(memory, PAGE_COUNT);
	mark(other, PAGE_COUNT);
	assert_int_equal(os_move(other, memory + 4 * page, 4 * page), 0);
	assert_int_equal(vma_count(memory, bytes), 3);
	assert_int_equal(os_remap_fresh(memory + 4 * page, 4 * page), 0);
	assert_int_equal(vma_count(memory, bytes), 1);
	assert_marked(memory, 4);
	assert_zero(memory + 4 * page, 4 * page);
	assert_string_equal(memory + 8 * page, "page 8");
	os_unmap(memory, bytes);
	os_unmap(other, bytes);
}

static void test_zero(void **state UNUSED)
{
	char buffer[64];

	memset(buffer, 1, sizeof(buffer));
	os_zero(buffer + 3, 41);
	assert_zero(buffer + 3, 41);
	assert_int_equal(buffer[2], 1);
	assert_int_equal(buffer[44], 1);
}

static size_t data_bytes(void)
{
	char line[256];
	size_t kib = 0;
	FILE *file = fopen("/proc/self/status", "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, "VmData:", 7) == 0)
			kib = strtoul(line + 7, NULL, 10);
	fclose(file);
	return kib * KIB;
}

/* Uncommitted memory is a reservation again: of the same kind, so that all is one mapping, and without charge. */
static void test_uncommit(void **state UNUSED)
{
	SKIP_EMULATED("mappings are not the kernel's");
	size_t pages = 4 * PAGE_COUNT, bytes = pages * page;
	char *memory = reserve(2 * pages);

	assert_int_equal(os_commit(memory, bytes), 0);
	mark(memory, pages);
	size_t data = data_bytes();
	assert_int_equal(os_uncommit(memory + bytes / 2, bytes / 2), 0);
	/* valgrind's own memory moves as well. */
	assert_true(MEMCHECK_BUILD || data - data_bytes() == bytes / 2);
	assert_int_equal(vma_count(memory, 2 * bytes), 2);
	assert_marked(memory, pages / 2);
	assert_int_equal(os_resident_bytes(memory + bytes / 2, bytes / 2), 0);
	assert_int_equal(os_commit(memory + bytes / 2, bytes / 2), 0);
	assert_zero(memory + bytes / 2, bytes / 2);
	assert_int_equal(vma_count(memory, 2 * bytes), 2);
	assert_true(MEMCHECK_BUILD || data_bytes() == data);
	/* What is locked stays. Not by mlock: AddressSanitizer's does nothing. */
	if (syscall(SYS_mlock, memory, page) == 0) {
		assert_int_equal(os_uncommit(memory, bytes / 2), -EINVAL);
		assert_marked(memory, 1);
	}
	os_unmap(memory, 2 * bytes);
}

static void test_overcommit(void **state UNUSED)
{
#ifdef __SANITIZE_THREAD__
	bool has_room = false;
#else
	bool has_room = !MEMCHECK_BUILD;
#endif
	if (!has_room) {
		print_message("# skipped: no address space for the probe in this build\n");
		skip();
	}
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
	if (file == NULL || limit.rlim_cur != RLIM_INFINITY) {
		print_message("# skipped: address space is limited\n");
		skip();
	}
	int mode = getc(file);
	fclose(file);
	assert_int_equal(os_overcommit_is_strict(), mode == '2');
}

/* ---- Guards ---- */

static void test_guards(void **state UNUSED)
{
	char *memory = memory_of(PAGE_COUNT);

	if (!os_has_guards()) {
		print_message("# skipped: this kernel has no guard markers\n");
		skip();
	}
	size_t mappings = vma_count(memory, PAGE_COUNT * page);
	mark(memory, PAGE_COUNT);
	for (size_t i = 1; i < PAGE_COUNT; i += 2)
		assert_int_equal(os_guard_install(memory + i * page, page), 0);
	assert_int_equal(vma_count(memory, PAGE_COUNT * page), mappings);
	for (size_t i = 0; i < PAGE_COUNT; i++) {
		assert_int_equal(is_accessible(memory + i * page, false), i % 2 == 0);
		assert_int_equal(is_accessible(memory + i * page, true), i % 2 == 0);
	}
	/* Their memory went; what stands between is left alone. */
	assert_true(os_resident_bytes(memory, page) > 0);
	assert_int_equal(os_guard_remove(memory, PAGE_COUNT * page), 0);
	assert_zero(memory + page, page);
	assert_string_equal(memory + 2 * page, "page 2");
	assert_true(is_accessible(memory + page, true));
	os_unmap(memory, PAGE_COUNT * page);
}

/* What mlockall gives programs: no new guards, but those that stand stay, and go when told to. */
static void test_guards_in_locked_memory(void **state UNUSED)
{
	char *memory = memory_of(2);

	if (!os_has_guards() || syscall(SYS_mlock, memory, page) != 0) {
		print_message("# skipped: no guard markers, or no locked memory\n");
		skip();
	}
	assert_int_equal(os_guard_install(memory, page), -EINVAL);
	assert_true(is_accessible(memory, true));
	assert_int_equal(syscall(SYS_munlock, memory, page), 0);
	assert_int_equal(os_guard_install(memory, page), 0);
	/* Locking wants to fill the page and can't; it is locked all the same. */
	syscall(SYS_mlock, memory, page);
	assert_int_equal(os_guard_remove(memory, page), 0);
	assert_true(is_accessible(memory, true));
	os_unmap(memory, 2 * page);
}

/* Of an uncharged reservation more can be made accessible than there is memory. */
static void test_reserve_uncharged(void **state UNUSED)
{
	size_t bytes = 8 * ROUND_UP(os_memory_bytes() + 1, GIB);
	char *memory = os_reserve_uncharged(bytes);

	if (memory == NULL) {
		print_message("# skipped: no such address space here\n");
		skip();
	}
	assert_false(is_accessible(memory, false));
	/* Where everything is charged the kernel must refuse, in the sizes that are charged elsewhere, too. */
	int error = os_commit(memory, bytes);
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
	int mode = file != NULL ? fgetc(file) : '2';
	if (file != NULL)
		fclose(file);
	assert_int_equal(error, mode == '2' ? -ENOMEM : 0);
	os_unmap(memory, bytes);
}

static void test_mappings_max(void **state UNUSED)
{
	FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
	size_t expected = 65530;

	if (file != NULL) {
		assert_int_equal(fscanf(file, "%zu", &expected), 1);
		fclose(file);
	}
	assert_int_equal(os_mappings_max(), expected);
}

static void test_objects(void **state UNUSED)
{
	static const char *own = "data";
	const char *name = os_object_name(own);
	char *memory = memory_of(1);

	assert_null(os_object_name(memory));
	os_unmap(memory, page);
	if (name == NULL) {
		print_message("# skipped: this C library can't tell\n");
		skip();
	}
	assert_non_null(strstr(name, "memory_test"));
	name = os_object_name(stdout);
	assert_non_null(name);
	assert_non_null(strstr(name, "libc"));
	assert_true(os_is_same_object(own, "other data"));
	assert_false(os_is_same_object(own, stdout));
}

static int setup(void **state UNUSED)
{
	page = os_page_bytes();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_page_size),
		cmocka_unit_test(test_reserve_and_commit),
		cmocka_unit_test(test_reserve_much),
		cmocka_unit_test(test_protect),
		cmocka_unit_test(test_errors_are_returned),
		cmocka_unit_test(test_purge_reads_zero),
		cmocka_unit_test(test_resident_bytes),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_move_several_mappings),
		cmocka_unit_test(test_move_fails_whole),
		cmocka_unit_test(test_move_without_room_for_mappings),
		cmocka_unit_test(test_remap_fresh_merges),
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_uncommit),
		cmocka_unit_test(test_overcommit),
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_guards_in_locked_memory),
		cmocka_unit_test(test_reserve_uncharged),
		cmocka_unit_test(test_mappings_max),
		cmocka_unit_test(test_objects),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

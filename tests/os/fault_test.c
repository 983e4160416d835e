/* Calls that fail on purpose: those that were chosen, as often as was said, and no other; nothing is done by them. */
#include "model/support.h"

#include <errno.h>

#include "os/fault.h"
#include "os/os.h"

#ifdef QUARRY_DEBUG

#define PAGES ((size_t)8)

static size_t bytes;

static char *memory_of_ones(void)
{
	char *memory = os_reserve(bytes);

	assert_non_null(memory);
	assert_int_equal(os_commit(memory, bytes), 0);
	memset(memory, 1, bytes);
	return memory;
}

static void assert_ones(const char *memory)
{
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(memory[i], 1);
}

static void always(enum os_call call, int error)
{
	os_fault_set(call, (struct os_fault){ .per_million = OS_FAULT_ALWAYS, .error = error });
}

static bool run_nothing(void)
{
	return false;
}

static bool visit_none(const struct os_mapping *mapping UNUSED, void *context UNUSED)
{
	return true;
}

static void test_files(void)
{
	struct os_file file;
	unsigned char own[1];
	char text[16];
	uint64_t signals;
	int id;

	assert_true(os_file_open(&file, "/proc/self/stat"));
	os_file_read(&file, text, sizeof(text), 0);
	int pages = os_pages_open();
	always(OS_CALL_READ, EIO);
	assert_int_equal(os_file_read(&file, text, sizeof(text), 0), -EIO);
	assert_int_equal(os_pages_own(pages, (uintptr_t)&file & ~(uintptr_t)4095, 1, own), 0);
	os_file_close(&file);
	os_pages_close(pages);
	always(OS_CALL_OPEN, EACCES);
	assert_false(os_file_open(&file, "/proc/self/stat"));
	assert_int_equal(os_file_append("/dev/null", "x", 1), -EACCES);
	assert_int_equal(os_mappings(visit_none, NULL), -EACCES);
	assert_int_equal(os_pages_open(), -EACCES);
	assert_int_equal(os_threads(&id, 1), -EACCES);
	assert_false(os_thread_blocks(os_thread_id(), &signals));
	os_thread_name_of(os_thread_id(), text);
	assert_string_equal(text, "");
	assert_true(os_mappings_max() > 0);
	os_fault_reset(1);
	assert_int_equal(os_mappings(visit_none, NULL), 0);
}

/* Each call alone, with what it would have changed unchanged. */
static void test_each_call(void **state UNUSED)
{
	char *memory = memory_of_ones();
	char *other = memory_of_ones();

	os_fault_reset(1);
	for (int call = 0; call < OS_CALL_COUNT; call++) {
		always((enum os_call)call, EAGAIN);
		void *reserved = os_reserve(bytes);
		assert_int_equal(reserved == NULL, call == OS_CALL_RESERVE);
		if (reserved != NULL)
			os_unmap(reserved, bytes);
		assert_int_equal(os_commit(memory, bytes), call == OS_CALL_COMMIT ? -EAGAIN : 0);
		assert_int_equal(os_protect_read(memory, bytes), call == OS_CALL_PROTECT_READ ? -EAGAIN : 0);
		assert_int_equal(os_protect_none(memory, bytes), call == OS_CALL_PROTECT_NONE ? -EAGAIN : 0);
		os_fault_reset(1);
		assert_int_equal(os_commit(memory, bytes), 0);
		assert_ones(memory);
	}
	always(OS_CALL_PURGE, EINVAL);
	assert_int_equal(os_purge(memory, bytes), -EINVAL);
	assert_ones(memory);
	always(OS_CALL_UNCOMMIT, ENOMEM);
	assert_int_equal(os_uncommit(memory, bytes), -ENOMEM);
	assert_ones(memory);
	always(OS_CALL_REMAP_FRESH, ENOMEM);
	assert_int_equal(os_remap_fresh(memory, bytes), -ENOMEM);
	assert_ones(memory);
	always(OS_CALL_MOVE, ENOMEM);
	assert_int_equal(os_move(memory, other, bytes), -ENOMEM);
	assert_ones(memory);
	assert_ones(other);
	always(OS_CALL_RESERVE_UNCHARGED, ENOMEM);
	assert_null(os_reserve_uncharged(bytes));
	always(OS_CALL_SEAL, ENOSYS);
	assert_int_equal(os_seal(memory, bytes), -ENOSYS);
	always(OS_CALL_ADVISE_HUGE, EINVAL);
	assert_int_equal(os_advise_huge(memory, bytes, false), -EINVAL);
	always(OS_CALL_GUARD_INSTALL, EINVAL);
	assert_int_equal(os_guard_install(memory, bytes), -EINVAL);
	assert_false(os_has_guards());
	assert_ones(memory);
	always(OS_CALL_GUARD_REMOVE, ENOMEM);
	assert_int_equal(os_guard_remove(memory, bytes), -ENOMEM);
	test_files();
	always(OS_CALL_COPY, EPERM);
	assert_int_equal(os_copy(other, (uintptr_t)memory, bytes), 0);
	always(OS_CALL_SIGNAL_ACTION, EPERM);
	assert_int_equal(os_signal_action(SIGUSR1, NULL, &(struct sigaction){ 0 }), -EPERM);
	always(OS_CALL_THREAD_START, EAGAIN);
	assert_false(os_thread_start(run_nothing, "nothing"));
	assert_int_equal(os_fault_failed(OS_CALL_THREAD_START), 1);
	os_fault_reset(1);
	assert_int_equal(os_purge(memory, bytes), 0);
	assert_int_equal(memory[0], 0);
	os_unmap(memory, bytes);
	os_unmap(other, bytes);
}

static void test_countdown(void **state UNUSED)
{
	char *memory = memory_of_ones();

	os_fault_reset(1);
	os_fault_set(OS_CALL_PURGE, (struct os_fault){ .skip = 3, .count = 2, .per_million = OS_FAULT_ALWAYS, .error = ENOMEM });
	for (int i = 0; i < 10; i++)
		assert_int_equal(os_purge(memory, bytes), i == 3 || i == 4 ? -ENOMEM : 0);
	assert_int_equal(os_fault_calls(OS_CALL_PURGE), 10);
	assert_int_equal(os_fault_failed(OS_CALL_PURGE), 2);
	assert_int_equal(os_fault_failed(OS_CALL_COMMIT), 0);
	os_unmap(memory, bytes);
}

static void test_chance(void **state UNUSED)
{
	enum { CALLS = 4000 };
	char *memory = memory_of_ones();
	static bool first[CALLS];

	for (int round = 0; round < 3; round++) {
		int same = 0;
		os_fault_reset(round == 2 ? 78 : 77);
		os_fault_set(OS_CALL_PURGE, (struct os_fault){ .per_million = 250000, .error = EAGAIN });
		for (int i = 0; i < CALLS; i++) {
			bool failed = os_purge(memory, bytes) != 0;
			first[i] = round == 0 ? failed : first[i];
			same += first[i] == failed;
		}
		assert_in_range(os_fault_failed(OS_CALL_PURGE), CALLS / 5, CALLS * 3 / 10);
		/* The seed alone decides. */
		assert_int_equal(same == CALLS, round < 2);
	}
	os_fault_reset(1);
	os_unmap(memory, bytes);
}

static int set_up(void **state UNUSED)
{
	bytes = PAGES * os_page_bytes();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_call),
		cmocka_unit_test(test_countdown),
		cmocka_unit_test(test_chance),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}

#else

/* No call asks in other builds: nothing to choose from, and nothing that could fail by mistake. */
static void test_none_fails(void **state UNUSED)
{
	for (int call = 0; call < OS_CALL_COUNT; call++)
		assert_int_equal(os_fault((enum os_call)call), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_none_fails) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif

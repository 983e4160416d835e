/* A kernel that refuses to take memory back: each way of giving back by itself. What was to go stays what it was, nobody
 * goes on asking for ever, and when the kernel takes it again it goes. Debug builds alone can make calls fail. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>

#include "block/sweep.h"
#include "os/fault.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "space/span.h"
#include "thread/scavenger.h"

#ifdef QUARRY_DEBUG

#define HOUR_MS 3600000
/* Calls of one step, or of one sweep, at most. */
#define STEP_CALLS 32
/* Slow paths that pass before a kernel that has refused is asked again. */
#define TICKS_MAX 5000

static const int errors[] = { EINVAL, ENOMEM, EAGAIN };

static void refuse(enum os_call call, int error)
{
	os_fault_reset(1);
	os_fault_set(call, (struct os_fault){ .per_million = OS_FAULT_ALWAYS, .error = error });
}

/* Nothing dirty, nothing learnt. */
static void configure(uint64_t retain_bytes)
{
	os_fault_reset(1);
	quarry_free(quarry_malloc(1));
	quarry_trim(0);
	forget_given_back();
	purge_configure(retain_bytes, 0, UINT64_MAX, HOUR_MS);
	sweep_configure(HOUR_MS);
}

static int quiet(void **state UNUSED)
{
	configure(1024 * GIB);
	return 0;
}

static size_t dirty_bytes(void)
{
	return span_dirty_units() * UNIT_BYTES;
}

static char *large_of(size_t bytes, char value)
{
	char *block = quarry_malloc(bytes);

	assert_non_null(block);
	memset(block, value, bytes);
	return block;
}

static void assert_zero(const char *block, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (block[i] != 0)
			fail_msg("byte %zu is %d", i, block[i]);
}

/* Many spans that can't merge; `walls` stay. */
static void make_dirty(char *walls[40])
{
	char *blocks[40];

	for (size_t i = 0; i < 40; i++) {
		blocks[i] = large_of(400000, 1);
		walls[i] = large_of(70000, (char)(i + 1));
	}
	for (size_t i = 0; i < 40; i++)
		quarry_free(blocks[i]);
}

static void free_walls(char *walls[40])
{
	for (size_t i = 0; i < 40; i++) {
		for (size_t at = 0; at < 70000; at++)
			assert_int_equal(walls[i][at], i + 1);
		quarry_free(walls[i]);
	}
}

static void test_trim(void **state UNUSED)
{
	char *walls[40];

	make_dirty(walls);
	size_t dirty = dirty_bytes();
	for (size_t i = 0; i < 3; i++) {
		refuse(OS_CALL_PURGE, errors[i]);
		assert_int_equal(quarry_trim(0), 0);
		assert_int_equal(dirty_bytes(), dirty);
		assert_true(os_fault_calls(OS_CALL_PURGE) > 0 && os_fault_calls(OS_CALL_PURGE) <= 2 * STEP_CALLS);
	}
	/* One of several: the others go. */
	os_fault_reset(1);
	os_fault_set(OS_CALL_PURGE, (struct os_fault){ .skip = 2, .count = 1, .per_million = OS_FAULT_ALWAYS, .error = ENOMEM });
	quarry_trim(0);
	assert_int_equal(os_fault_failed(OS_CALL_PURGE), 1);
	os_fault_reset(1);
	quarry_trim(0);
	assert_int_equal(dirty_bytes(), 0);
	free_walls(walls);
}

/* Slow paths ask once in a while, and get it when it is given. */
static void test_tick(void **state UNUSED)
{
	char *walls[40];

	make_dirty(walls);
	size_t dirty = dirty_bytes();
	for (size_t i = 0; i < 3; i++) {
		refuse(OS_CALL_PURGE, errors[i]);
		purge_set_retain(MIB);
		for (size_t tick = 0; tick < 10 * TICKS_MAX; tick++)
			purge_tick();
		assert_int_equal(dirty_bytes(), dirty);
		assert_true(os_fault_failed(OS_CALL_PURGE) > 0);
		assert_true(os_fault_calls(OS_CALL_PURGE) <= 20 * 2 * STEP_CALLS);
	}
	os_fault_reset(1);
	for (size_t tick = 0; tick < TICKS_MAX; tick++)
		purge_tick();
	assert_true(dirty_bytes() <= purge_retained_max() + 2 * MIB);
	free_walls(walls);
}

/* Of a large block, before its span is free. */
static void test_before_release(void **state UNUSED)
{
	for (size_t i = 0; i < 3; i++) {
		configure(MIB);
		char *block = large_of(8 * MIB, 1);
		refuse(OS_CALL_PURGE, errors[i]);
		quarry_free(block);
		assert_true(dirty_bytes() >= 8 * MIB);
		/* Dirty memory, and calloc's purge is refused as well. */
		char *zeroed = quarry_calloc(1, 8 * MIB);
		assert_zero(zeroed, 8 * MIB);
		memset(zeroed, 1, 8 * MIB);
		assert_true(os_fault_failed(OS_CALL_PURGE) >= 2);
		os_fault_reset(1);
		quarry_free(zeroed);
		for (size_t tick = 0; tick < TICKS_MAX; tick++)
			purge_tick();
		assert_true(dirty_bytes() <= purge_retained_max() + 2 * MIB);
		zeroed = quarry_calloc(1, 8 * MIB);
		assert_zero(zeroed, 8 * MIB);
		quarry_free(zeroed);
	}
}

#define SMALL_COUNT ((size_t)20000)
#define SMALL_BYTES 256

static void test_sweep(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	char **blocks = calloc(SMALL_COUNT, sizeof(*blocks));

	assert_non_null(blocks);
	for (size_t i = 0; i < SMALL_COUNT; i++)
		blocks[i] = large_of(SMALL_BYTES, (char)(i % 100 + 1));
	for (size_t i = 0; i < SMALL_COUNT; i++)
		if (i % 200 >= 10)
			quarry_free(blocks[i]);
	sweep_all(SLAB_SWEEP_LOOK, false);
	size_t left = sweep_figures().left_bytes;
	assert_true(left > SMALL_COUNT * SMALL_BYTES / 2);
	for (size_t i = 0; i < 3; i++) {
		refuse(OS_CALL_PURGE, errors[i]);
		assert_int_equal(sweep_all(SLAB_SWEEP_ALL, true), 0);
		assert_true(os_fault_calls(OS_CALL_PURGE) > 0 && os_fault_calls(OS_CALL_PURGE) <= STEP_CALLS);
	}
	/* What is handed out of it is not taken for zero, a part given back or not. */
	os_fault_reset(1);
	os_fault_set(OS_CALL_PURGE, (struct os_fault){ .per_million = OS_FAULT_ALWAYS / 3, .error = EAGAIN });
	sweep_all(SLAB_SWEEP_ALL, false);
	os_fault_reset(1);
	for (size_t i = 0; i < SMALL_COUNT; i++)
		if (i % 200 >= 10) {
			blocks[i] = quarry_calloc(1, SMALL_BYTES);
			assert_zero(blocks[i], SMALL_BYTES);
			quarry_free(blocks[i]);
		}
	sweep_all(SLAB_SWEEP_ALL, false);
	assert_int_equal(sweep_figures().left_bytes, 0);
	for (size_t i = 0; i < SMALL_COUNT; i++)
		if (i % 200 < 10) {
			for (size_t at = 0; at < SMALL_BYTES; at++)
				assert_int_equal(blocks[i][at], i % 100 + 1);
			quarry_free(blocks[i]);
		}
	free(blocks);
}

/* Pages that can't be moved are copied; a moved block's place that can't be mapped afresh is used as it is. */
static void test_move(void **state UNUSED)
{
	char *block = large_of(4 * MIB, 1);
	char *wall = large_of(MIB, 2);

	refuse(OS_CALL_MOVE, ENOMEM);
	char *copied = quarry_realloc(block, 12 * MIB);
	assert_non_null(copied);
	assert_true(os_fault_failed(OS_CALL_MOVE) > 0);
	os_fault_reset(1);
	char *wall_too = large_of(MIB, 2);
	char *moved = quarry_realloc(copied, 40 * MIB);
	assert_non_null(moved);
	for (size_t at = 0; at < 4 * MIB; at++)
		assert_int_equal(moved[at], 1);
	memset(moved, 3, 40 * MIB);
	refuse(OS_CALL_REMAP_FRESH, ENOMEM);
	quarry_free(moved);
	os_fault_reset(1);
	char *zeroed = quarry_calloc(1, 40 * MIB);
	assert_zero(zeroed, 40 * MIB);
	quarry_free(zeroed);
	assert_int_equal(wall[0] + wall_too[MIB - 1], 4);
	quarry_free(wall);
	quarry_free(wall_too);
	quarry_trim(0);
	assert_int_equal(dirty_bytes(), 0);
}

/* ---- The scavenger ---- */

#define DECAY_MS 100

static pthread_barrier_t barrier;

static void *get_a_heap(void *argument UNUSED)
{
	for (size_t i = 0; i < 500; i++)
		quarry_free(quarry_malloc(i));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* It tries twice in a decay_ms, no more often; and once it may, it gives back what has waited. */
static void test_scavenger(void **state UNUSED)
{
	char *walls[40];
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	purge_configure(MIB, 0, UINT64_MAX, DECAY_MS);
	sweep_configure(DECAY_MS);
	scavenger_configure(true, DECAY_MS, false);
	refuse(OS_CALL_PURGE, EAGAIN);
	make_dirty(walls);
	assert_int_equal(pthread_create(&thread, NULL, get_a_heap, NULL), 0);
	pthread_barrier_wait(&barrier);
	/* Nobody calls from here on. */
	while (os_fault_failed(OS_CALL_PURGE) == 0)
		sleep_ms(10);
	uint64_t asked = os_fault_calls(OS_CALL_PURGE);
	uint64_t began = os_now_ms();
	sleep_ms(8 * DECAY_MS);
	uint64_t calls = os_fault_calls(OS_CALL_PURGE) - asked;
	uint64_t looks = (os_now_ms() - began) / (DECAY_MS / 2) + 2;
	print_message("# %ju calls in at most %ju looks\n", (uintmax_t)calls, (uintmax_t)looks);
	assert_true(calls <= looks * 3 * STEP_CALLS);
	assert_true(dirty_bytes() > MIB);
	os_fault_reset(1);
	while (dirty_bytes() > 0)
		sleep_ms(10);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	free_walls(walls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_trim, quiet),
		cmocka_unit_test_setup(test_tick, quiet),
		cmocka_unit_test_setup(test_before_release, quiet),
		cmocka_unit_test_setup(test_sweep, quiet),
		cmocka_unit_test_setup(test_move, quiet),
		cmocka_unit_test_setup(test_scavenger, quiet),
	};

	/* An endless loop is a failure. */
	alarm(60 * slowdown());
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	return debug_builds_only();
}

#endif

/* What both security levels promise, through the public functions: for level1_test.c and level2_test.c, which say LEVEL. */
#ifndef QUARRY_TESTS_SECURE_LEVELS_H
#define QUARRY_TESTS_SECURE_LEVELS_H

#include "model/support.h"

#include <errno.h>
#include <pthread.h>

#include "api/init.h"
#include "api/secure.h"
#include "base/memcheck.h"
#include "block/lookup.h"
#include "block/secure.h"
#include "guard/guarded.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "thread/heap.h"

static char reported[64];
static size_t reports;

static void note(const struct quarry_report *report, void *context UNUSED)
{
	snprintf(reported, sizeof(reported), "%s", report->kind);
	reports++;
}

static void expect(size_t count, const char *kind)
{
	if (reports != count || (count > 0 && strcmp(reported, kind) != 0))
		fail_msg("%zu reports, the last %s, in place of %zu of %s", reports, reported, count, kind);
	reports = 0;
}

/* The kernel reads for us: no fault. */
static bool is_accessible(const volatile void *address)
{
	char byte;

	return os_copy(&byte, (uintptr_t)address, 1) == 1;
}

static const size_t sizes[] = { 0, 1, 7, 8, 9, 16, 24, 40, 41, 64, 120, 121, 248, 249, 256, 500, 1016, 1017, 1024, 4096, 9000, 20000,
	                        32824, 32825, 32832, 65536, 100000, 300000, 1048576, 5000000 };

#define SIZE_COUNT (sizeof(sizes) / sizeof(sizes[0]))

/* Another thread frees the block, too, between the owner's look at its state and the end of its life. */
static void test_racing_frees(void **state UNUSED)
{
	void *blocks[2000];
	struct span *slab;
	ledger_byte *byte;
	void *block = quarry_malloc(40);

	assert_true(live_block(block, &slab, &byte));
	assert_true(slab->owner == thread_heap_distance);
	assert_true(ledger_end_life(byte, LEDGER_LEAVING));
	secure_release_own(slab, block, byte, GUARDED_UNSAID, 0, "free");
	expect(1, "double-free");
	assert_int_equal(ledger_get(byte), LEDGER_LEAVING);
	memset(block, 0, slab->block_bytes);
	ledger_give_up(byte);
	heap_notify(slab);
	for (size_t i = 0; i < 2000; i++) {
		blocks[i] = quarry_malloc(40);
		for (size_t j = 0; j < i; j++)
			assert_ptr_not_equal(blocks[i], blocks[j]);
	}
	for (size_t i = 0; i < 2000; i++)
		quarry_free(blocks[i]);
	expect(0, "");
}

/* ---- What a program may do is never reported */

static void test_sizes(void **state UNUSED)
{
	for (size_t round = 0; round < 3; round++)
		for (size_t size = 0; size < 70000; size += 1 + (size > 2000) * 97) {
			unsigned char *block = quarry_malloc(size);
			assert_non_null(block);
			assert_int_equal(quarry_usable_size(block), size);
			assert_int_equal(quarry_good_size(size), size);
			memset(block, 0xff, size);
			quarry_free(block);
			block = quarry_calloc(1, size);
			for (size_t at = 0; at < size; at += 1 + (size > 500) * 13)
				assert_int_equal(block[at], 0);
			memset(block, 0xff, size);
			quarry_free_sized(block, size);
		}
	expect(0, "");
}

static void test_aligned(void **state UNUSED)
{
	for (size_t alignment = 8; alignment <= MIB; alignment *= 2)
		for (size_t i = 0; i < SIZE_COUNT; i++) {
			unsigned char *block = quarry_memalign(alignment, sizes[i]);
			assert_non_null(block);
			assert_true(IS_ALIGNED((uintptr_t)block, alignment));
			assert_int_equal(quarry_usable_size(block), sizes[i]);
			memset(block, 0xff, sizes[i]);
			quarry_free_aligned_sized(block, alignment, sizes[i]);
		}
	expect(0, "");
}

static void test_resized(void **state UNUSED)
{
	for (size_t from = 0; from < SIZE_COUNT; from++)
		for (size_t to = 0; to < SIZE_COUNT; to++) {
			unsigned char *block = quarry_malloc(sizes[from]);
			memset(block, 0x11, sizes[from]);
			block = quarry_realloc(block, sizes[to]);
			if (sizes[to] == 0) {
				assert_null(block);
				continue;
			}
			assert_int_equal(quarry_usable_size(block), sizes[to]);
			for (size_t at = 0; at < min_size(sizes[from], sizes[to]); at += 1 + (sizes[to] > 500) * 13)
				assert_int_equal(block[at], 0x11);
			memset(block, 0x22, sizes[to]);
			quarry_free_sized(block, sizes[to]);
		}
	/* In small steps, up and down. */
	unsigned char *block = quarry_malloc(1);
	for (size_t size = 1; size < 3000; size += 7) {
		block = quarry_realloc(block, size);
		memset(block, 0x33, size);
	}
	for (size_t size = 2990; size > 7; size -= 7) {
		block = quarry_realloc(block, size);
		assert_int_equal(block[size - 1], 0x33);
	}
	quarry_free(block);
	expect(0, "");
}

/* What is new in a block that has grown in place is zero, as in any other. */
static void test_grown_is_zero(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT; i++)
		for (size_t more = 1; more <= 20; more++) {
			unsigned char *block = quarry_malloc(sizes[i] + 20);
			memset(block, 0xff, sizes[i] + 20);
			block = quarry_realloc(block, sizes[i] + 1);
			unsigned char *grown = quarry_realloc(block, sizes[i] + 1 + more);
			for (size_t at = sizes[i] + 1; grown == block && at < sizes[i] + 1 + more; at++)
				assert_int_equal(grown[at], 0);
			quarry_free(grown);
		}
	expect(0, "");
}

/* ---- What it may not is found */

static void test_overflow(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT; i++)
		for (size_t at = 0; at < 8; at++) {
			unsigned char *volatile block = quarry_malloc(sizes[i]);
			/* The program may have left them as they were. */
			block[sizes[i] + at] ^= 0x81;
			quarry_free(block);
			expect(1, "overflow");
			block = quarry_memalign(64, sizes[i]);
			block[sizes[i] + at] ^= 0x81;
			block = quarry_realloc(block, sizes[i] + 9);
			expect(1, "overflow");
			quarry_free(block);
			expect(0, "");
		}
}

/* One that is free comes out at last where all are asked for: its slab may stand behind others that are used again and
 * again. */
static void take_until_reported(size_t size)
{
	static void *held[20000];
	size_t count = 0;

	while (count < sizeof(held) / sizeof(held[0]) && reports == 0)
		held[count++] = quarry_malloc(size);
	while (count > 0)
		quarry_free(held[--count]);
}

/* False if the block was not handed out again, which some at the bottom of a magazine never are. */
static bool is_written_after_free(size_t size)
{
	static void *others[2000], *stay[256];

	/* So that its slab stays: what another makes of it may be a block of another size. */
	for (size_t j = 0; j < 128; j++)
		stay[j] = quarry_malloc(size);
	unsigned char *volatile stale = quarry_malloc(size);
	for (size_t j = 128; j < 256; j++)
		stay[j] = quarry_malloc(size);
	quarry_free(stale);
	stale[size / 2] = 1;
	for (size_t round = 0; round < 20 && reports == 0; round++) {
		for (size_t j = 0; j < 2000; j++)
			others[j] = quarry_malloc(size);
		for (size_t j = 0; j < 2000; j++)
			quarry_free(others[j]);
	}
	take_until_reported(size);
	if (reports == 0)
		stale[size / 2] = 0;
	for (size_t j = 0; j < 256; j++)
		quarry_free(stay[j]);
	return reports > 0;
}

static void test_written_after_free(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT && sizes[i] <= 4096; i++) {
		for (size_t tries = 0; tries < 5 && !is_written_after_free(sizes[i]); tries++)
			;
		expect(1, "use-after-free");
	}
}

/* Who gets the block gets zeros all the same. */
static void test_written_after_free_calloc(void **state UNUSED)
{
	unsigned char *volatile stale = quarry_malloc(40);

	quarry_free(stale);
	stale[20] = 1;
	static void *others[2000];
	for (size_t j = 0; j < 100000 && reports == 0; j++) {
		unsigned char *block = quarry_calloc(1, 40);
		for (size_t at = 0; at < 40; at++)
			assert_int_equal(block[at], 0);
		quarry_free(others[j % 2000]);
		others[j % 2000] = block;
	}
	for (size_t j = 0; j < 2000; j++)
		quarry_free(others[j]);
	take_until_reported(40);
	expect(1, "use-after-free");
}

static void test_double_free(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT; i++) {
		void *volatile block = quarry_malloc(sizes[i]);
		void *other = quarry_malloc(sizes[i]);
		quarry_free(block);
		quarry_free(other);
		quarry_free(block);
		assert_int_equal(reports, 1);
		reports = 0;
	}
}

static void test_freed_is_zero(void **state UNUSED)
{
	for (size_t i = 0; i < SIZE_COUNT; i++) {
		unsigned char *volatile block = quarry_malloc(sizes[i]);
		/* So that its slab or span stays. */
		void *other = quarry_malloc(sizes[i]);
		memset(block, 0xff, sizes[i]);
		quarry_free(block);
		for (size_t at = 0; at < sizes[i] && is_accessible(block); at += 1 + (sizes[i] > 500) * 113)
			assert_int_equal(block[at], 0);
		quarry_free(other);
	}
	expect(0, "");
}

/* A tear-down: magazines are full, and blocks go past them, straight to their slabs. */
#define TORN_DOWN 20000

static void tear_down(size_t size)
{
	static unsigned char *volatile blocks[TORN_DOWN];

	for (size_t i = 0; i < TORN_DOWN; i++)
		memset(blocks[i] = quarry_malloc(size), 0x5a, size);
	for (size_t i = 0; i < TORN_DOWN; i++) {
		/* So that the slabs stay. */
		if (i % 20 == 0)
			continue;
		if (i % 1000 == 999)
			blocks[i][size] ^= 1;
		quarry_free(blocks[i]);
		expect(i % 1000 == 999, "overflow");
		assert_int_equal(secure_first_nonzero(blocks[i], size), size);
		if (i % 1000 == 501) {
			quarry_free(blocks[i]);
			expect(1, "double-free");
		}
	}
	/* Later ones of these went past; the quarantine gives back in no order. */
	blocks[TORN_DOWN / 2 + 1][size / 2] = 1;
	for (size_t i = 0; i < 2 * TORN_DOWN && reports == 0; i++)
		blocks[i % TORN_DOWN] = quarry_malloc(size);
	expect(1, "use-after-free");
}

static void test_torn_down(void **state UNUSED)
{
	tear_down(24);
	tear_down(100);
	tear_down(600);
}

/* ---- Places */

/* A freed block doesn't come back at once, nor do neighbours come in turn. */
static void test_random(void **state UNUSED)
{
	size_t hits = 0, in_turn = 0;
	unsigned char *before = NULL;

	for (size_t i = 0; i < 1000; i++) {
		void *stale = quarry_malloc(56);
		quarry_free(stale);
		unsigned char *block = quarry_malloc(56);
		hits += block == stale;
		in_turn += before != NULL && (block == before + 64 || block == before - 64);
		before = block;
	}
	assert_in_range(hits, 0, 100);
	assert_in_range(in_turn, 0, 150);
}

static void addresses(void *blocks[20])
{
	for (size_t i = 0; i < 20; i++)
		blocks[i] = quarry_malloc(88);
}

/* Parent and child draw different blocks. */
static void test_fork(void **state UNUSED)
{
	void *mine[20], *other[20];
	int ends[2];

	void *inherited = quarry_malloc(88);
	for (size_t i = 0; i < 500; i++)
		quarry_free(quarry_malloc(88));
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		addresses(other);
		MUST(write(ends[1], other, sizeof(other)) == sizeof(other));
		quarry_free(inherited);
		for (size_t i = 0; i < 20; i++)
			quarry_free(other[i]);
		MUST(reports == 0);
		((unsigned char *volatile)other[0])[0] = 1;
		for (size_t i = 0; i < 100000 && reports == 0; i++)
			quarry_free(quarry_malloc(88));
		take_until_reported(88);
		MUST(reports == 1);
		_exit(0);
	}
	addresses(mine);
	assert_int_equal(read(ends[0], other, sizeof(other)), sizeof(other));
	assert_memory_not_equal(mine, other, sizeof(mine));
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	expect(0, "");
}

/* ---- Threads */

enum { HANDED = 3000 };
static void *handed[HANDED];

static void *free_all(void *argument)
{
	for (size_t i = 0; i < HANDED; i++)
		quarry_free(handed[i]);
	/* Those that have a heap of their own, too. */
	for (size_t i = 0; argument != NULL && i < 1000; i++)
		quarry_free(quarry_malloc(i));
	return NULL;
}

static void test_other_threads(void **state UNUSED)
{
	for (size_t round = 0; round < 6; round++) {
		pthread_t thread;
		for (size_t i = 0; i < HANDED; i++) {
			handed[i] = quarry_malloc(i % 300);
			memset(handed[i], 0xff, i % 300);
		}
		((unsigned char *)handed[17])[17] ^= 1;
		assert_int_equal(pthread_create(&thread, NULL, free_all, round % 2 == 0 ? NULL : &handed), 0);
		pthread_join(thread, NULL);
		expect(1, "overflow");
		for (size_t i = 0; i < 300; i++) {
			unsigned char *block = quarry_malloc(i);
			for (size_t at = 0; at < i; at++)
				assert_int_equal(block[at], 0);
			quarry_free(block);
		}
		expect(0, "");
	}
}

/* ---- In the end nothing is left */

static void test_all_goes(void **state UNUSED)
{
	struct quarry_stats before = { .struct_bytes = sizeof(before) }, after = before;
	static void *blocks[4000];

	quarry_trim(0);
	quarry_stats(&before);
	for (size_t i = 0; i < 4000; i++)
		blocks[i] = quarry_malloc(sizes[i % 26]);
	for (size_t i = 0; i < 4000; i++)
		quarry_free(blocks[i]);
	quarry_trim(0);
	quarry_stats(&after);
	assert_int_equal(after.live_blocks, before.live_blocks);
	assert_int_equal(after.cached_bytes, 0);
	assert_int_equal(after.slab_count, before.slab_count);
	assert_int_equal(after.large_span_bytes, before.large_span_bytes);
	expect(0, "");
}

static void test_memcheck(void **state UNUSED)
{
	print_message("# skipped: builds for memcheck have no security levels\n");
	skip();
}

static inline int without_levels(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_memcheck) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#define COMMON_TESTS \
	cmocka_unit_test(test_sizes), cmocka_unit_test(test_aligned), cmocka_unit_test(test_resized), cmocka_unit_test(test_grown_is_zero), \
	        cmocka_unit_test(test_overflow), cmocka_unit_test(test_written_after_free), \
	        cmocka_unit_test(test_written_after_free_calloc), cmocka_unit_test(test_double_free), cmocka_unit_test(test_racing_frees), \
	        cmocka_unit_test(test_freed_is_zero), cmocka_unit_test(test_torn_down), cmocka_unit_test(test_random), cmocka_unit_test(test_fork), \
	        cmocka_unit_test(test_other_threads), cmocka_unit_test(test_all_goes)

#endif

/* A thread's life: the shared heap first, a heap of its own when it allocates, and destructors that go on allocating. */
#include "model/support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "quarry/quarry.h"
#include "thread/life.h"
#include "thread/pool.h"
#include "thread/shared.h"

static void run_thread(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, argument), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

/* The first thread's program allocates: its heap is its own from the first block on. */
static void test_first_thread(void **state UNUSED)
{
	void *block = quarry_malloc(100);

	assert_non_null(life_heap_if_any());
	assert_int_equal(span_of(block)->owner, thread_heap_distance);
	assert_int_equal(pool_counts().made, 1);
	quarry_free(block);
}

static void *allocate_little(void *argument UNUSED)
{
	void *block = quarry_malloc(100);

	MUST(life_heap_if_any() == NULL);
	MUST(shared_owns(span_of(block)));
	quarry_free(block);
	return NULL;
}

static void *allocate_much(void *argument UNUSED)
{
	size_t calls = 0;

	while (life_heap_if_any() == NULL) {
		MUST(calls++ < 1000);
		quarry_free(quarry_malloc(100));
	}
	MUST(calls > 10);
	void *block = quarry_malloc(100);
	MUST(span_of(block)->owner == thread_heap_distance && !shared_owns(span_of(block)));
	MUST(life_heap_if_any()->state == HEAP_IN_USE);
	quarry_free(block);
	return NULL;
}

static void test_own_heap_when_it_pays(void **state UNUSED)
{
	for (size_t i = 0; i < 50; i++)
		run_thread(allocate_little, NULL);
	/* The first thread's and the shared one. */
	assert_int_equal(pool_counts().made, 2);
	assert_int_equal(pool_counts().pooled, 0);
	run_thread(allocate_much, NULL);
	assert_int_equal(pool_counts().made, 3);
	assert_int_equal(pool_counts().pooled, 1);
	run_thread(allocate_much, NULL);
	assert_int_equal(pool_counts().made, 3);
	assert_int_equal(pool_counts().pooled, 1);
}

/* ---- Many short lives ---- */

struct parcel {
	size_t check;
	void *blocks[20];
};

static void *short_life(void *argument)
{
	struct parcel *parcel = argument;
	size_t calls = parcel->check % 50 == 0 ? 300 : 20;

	for (size_t i = 0; i < 20; i++)
		quarry_free(parcel->blocks[i]);
	for (size_t i = 0; i < calls; i++) {
		void **block = quarry_malloc(sizeof(void *) << i % 8);
		MUST(block != NULL);
		*block = block;
		if (i < 20)
			parcel->blocks[i] = block;
		else
			quarry_free(block);
	}
	for (size_t i = 0; i < 20; i++)
		MUST(*(void **)parcel->blocks[i] == parcel->blocks[i]);
	parcel->check++;
	return NULL;
}

/* 50,000 threads hand blocks on, four at a time: heaps are used again. */
static void test_many_short_threads(void **state UNUSED)
{
	struct parcel parcels[4] = { 0 };
	pthread_t threads[4];
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t count = rounds(12500, 200);

	for (size_t i = 0; i < 4; i++)
		parcels[i].check = i * 13;
	for (size_t round = 0; round < count; round++) {
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, short_life, &parcels[i]), 0);
		for (size_t i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(parcels[i].check, i * 13 + count);
		for (size_t at = 0; at < 20; at++)
			quarry_free(parcels[i].blocks[at]);
	}
	assert_true(pool_counts().made <= 3 + 4);
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(stats.live_blocks, 0);
	assert_true(stats.slab_bytes < 16 * MIB);
	quarry_trim(0);
	quarry_stats(&stats);
	assert_int_equal(stats.slab_count, 0);
}

/* ---- Destructors ---- */

static pthread_key_t keys[3];
static _Atomic size_t rounds_seen;

/* Rounds of destructors: the C library makes four. */
#define ROUND_COUNT (THREAD_SANITIZED ? 3 : 4)

/* Allocates, frees what another destructor left, and comes again. */
static void destroy(void *value)
{
	void **chain = value;
	size_t left = (size_t)(uintptr_t)chain[0];
	pthread_key_t key = keys[(size_t)(uintptr_t)chain[1]];

	atomic_fetch_add(&rounds_seen, 1);
	quarry_free(chain[2]);
	for (size_t i = 0; i < 200; i++) {
		char *block = quarry_calloc(1, 50 + i);
		MUST(block != NULL && block[49 + i] == 0);
		memset(block, 1, 50 + i);
		block = quarry_realloc(block, 500 + i * 300);
		MUST(block != NULL && block[49 + i] == 1);
		quarry_free(block);
	}
	if (left > 0) {
		void **next = quarry_malloc(3 * sizeof(void *));
		next[0] = (void *)(uintptr_t)(left - 1);
		next[1] = chain[1];
		next[2] = quarry_malloc(100 * left);
		pthread_setspecific(key, next);
	}
	quarry_free(chain);
}

static void *live_with_keys(void *much)
{
	for (size_t i = 0; i < 3; i++) {
		void **chain = quarry_malloc(3 * sizeof(void *));
		chain[0] = (void *)(uintptr_t)(ROUND_COUNT - 1);
		chain[1] = (void *)(uintptr_t)i;
		chain[2] = quarry_malloc(1000);
		pthread_setspecific(keys[i], chain);
	}
	for (size_t i = 0; much != NULL && i < 1000; i++)
		quarry_free(quarry_malloc(i));
	MUST((life_heap_if_any() != NULL) == (much != NULL));
	return NULL;
}

static void test_destructors(void **state UNUSED)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t made = pool_counts().made;
	size_t count = rounds(200, 10);

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_key_create(&keys[i], destroy), 0);
	for (size_t i = 0; i < count; i++) {
		rounds_seen = 0;
		run_thread(live_with_keys, i % 2 == 0 ? keys : NULL);
		assert_int_equal(rounds_seen, 3 * ROUND_COUNT);
	}
	/* Threads that end in the shared heap take no new heap on their way out, or give it back. */
	assert_true(pool_counts().made <= made + 1);
	assert_int_equal(pool_counts().made - pool_counts().pooled, 2);
	quarry_stats(&stats);
	assert_int_equal(stats.live_blocks, 0);
	for (size_t i = 0; i < 3; i++)
		pthread_key_delete(keys[i]);
}

/* The distance is wiped, as the loader does when it copies the TLS image: the heap is found again. */
static void test_found_again(void **state UNUSED)
{
	void *block = quarry_malloc(64);
	uintptr_t distance = thread_heap_distance;
	size_t made = pool_counts().made;

	assert_int_not_equal(distance, 0);
	thread_heap_distance = 0;
	quarry_free(block);
	assert_int_equal(thread_heap_distance, distance);
	thread_heap_distance = 0;
	block = quarry_malloc(64);
	assert_int_equal(thread_heap_distance, distance);
	assert_int_equal(span_of(block)->owner, distance);
	quarry_free(block);
	assert_int_equal(pool_counts().made, made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_thread),
		cmocka_unit_test(test_own_heap_when_it_pays),
		cmocka_unit_test(test_many_short_threads),
		cmocka_unit_test(test_destructors),
		cmocka_unit_test(test_found_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

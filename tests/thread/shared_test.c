/* The shared heap: several threads at once, each block somebody's. */
#include "model/support.h"

#include <pthread.h>

#include "thread/pool.h"
#include "thread/shared.h"

#define THREAD_COUNT 4

static struct entry take(unsigned class_index)
{
	struct entry entry = shared_take(class_index);

	MUST(entry.block != NULL);
	ledger_set(entry.state, LEDGER_LIVE);
	return entry;
}

static void test_take_and_put(void **state UNUSED)
{
	struct entry entry = take(CLASS_OF_48);
	struct span *slab = span_of(entry.block);

	assert_int_equal(slab->class_index, CLASS_OF_48);
	assert_true(shared_owns(slab));
	assert_false(shared_owns(&span_nobody));
	assert_int_equal(heap_at(slab->owner)->state, HEAP_SHARED);
	assert_true(shared_put(slab, entry));
	assert_int_equal(ledger_get(entry.state), LEDGER_CACHED);
	/* A second time it isn't live. */
	assert_false(shared_put(slab, entry));
	struct entry other;
	assert_ptr_equal(take(CLASS_OF_48).block, entry.block);
	assert_ptr_not_equal((other = take(CLASS_OF_48)).block, entry.block);
	assert_true(shared_put(slab, other));
	assert_true(shared_put(slab, entry));
	shared_drop_all();
	assert_int_not_equal(span_of(entry.block)->kind, SPAN_SLAB);
}

static void test_one_for_all(void **state UNUSED)
{
	size_t made = pool_counts().made;
	struct entry first = take(CLASS_OF_16);
	struct entry second = take(CLASS_OF_1024);

	assert_int_equal(span_of(first.block)->owner, span_of(second.block)->owner);
	assert_int_equal(pool_counts().made, made);
	/* Freed by somebody with a heap of his own. */
	assert_true(ledger_end_life(first.state, LEDGER_FREE));
	heap_notify(span_of(first.block));
	assert_true(shared_put(span_of(second.block), second));
	shared_drop_all();
	assert_int_not_equal(span_of(first.block)->kind, SPAN_SLAB);
}

/* Many announcements, and nobody who asks for memory: who announces tidies. */
static void test_tidies(void **state UNUSED)
{
	static struct entry entries[64 * 60];
	struct span *slab;

	for (size_t i = 0; i < 64 * 60; i++)
		entries[i] = take(CLASS_OF_1024);
	size_t gone = 0;
	for (size_t i = 0; i < 64 * 60; i++) {
		slab = span_of(entries[i].block);
		assert_true(ledger_end_life(entries[i].state, LEDGER_FREE));
		heap_notify(slab);
	}
	for (size_t i = 0; i < 64 * 60; i++)
		gone += span_of(entries[i].block)->kind != SPAN_SLAB;
	assert_true(gone > 64 * 20);
	shared_tidy();
	shared_drop_all();
	for (size_t i = 0; i < 64 * 60; i++)
		assert_int_not_equal(span_of(entries[i].block)->kind, SPAN_SLAB);
}

static _Atomic(struct entry *) passed[128];

static void *work(void *argument)
{
	struct random random = { .state = (uintptr_t)argument };

	for (size_t i = 0, count = rounds(200000, 4000); i < count; i++) {
		_Atomic(struct entry *) *slot = &passed[random_below(&random, 128)];
		struct entry *inside = atomic_exchange(slot, NULL);
		if (inside == NULL) {
			struct entry entry = take(CLASS_OF_32 + (unsigned)random_below(&random, 20));
			*(struct entry *)entry.block = entry;
			inside = atomic_exchange(slot, entry.block);
		}
		if (inside == NULL)
			continue;
		struct entry entry = *inside;
		struct span *slab = span_of(entry.block);
		MUST(entry.block == inside && shared_owns(slab));
		memset(entry.block, 0xff, sizeof(entry));
		if (random_below(&random, 2) == 0) {
			MUST(shared_put(slab, entry));
		} else {
			MUST(ledger_end_life(entry.state, LEDGER_FREE));
			heap_notify(slab);
		}
		if (random_below(&random, 5000) == 0)
			shared_drop_all();
	}
	return NULL;
}

static void test_threads(void **state UNUSED)
{
	struct random random = random_start(14);
	pthread_t threads[THREAD_COUNT];

	for (size_t i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(random_next(&random) | 1)), 0);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 128; i++)
		if (passed[i] != NULL) {
			struct entry entry = *passed[i];
			assert_true(shared_put(span_of(entry.block), entry));
		}
	shared_drop_all();
	for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES)
		assert_int_not_equal(span_of((void *)at)->kind, SPAN_SLAB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_and_put),
		cmocka_unit_test(test_one_for_all),
		cmocka_unit_test(test_tidies),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

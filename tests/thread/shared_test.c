/* The shared heap: several threads at once, each block somebody's. */
#include "model/support.h"

#include <pthread.h>
#include <sched.h>

#include "thread/export.h"
#include "thread/magazine.h"
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

/* ---- Export: slabs go over to the shared heap and come from it, while their heaps are in use ---- */

#define CLASS CLASS_OF_1024
#define EXPORT_BLOCKS ((size_t)3000)

static struct entry held[EXPORT_BLOCKS];

static size_t slab_count(void)
{
	size_t count = 0;

	for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES) {
		const struct span *span = span_of((void *)at);
		count += span->kind == SPAN_SLAB && span->start == at;
	}
	return count;
}

static struct heap *shared_one(void)
{
	struct entry entry = take(CLASS_OF_16);
	struct heap *heap = heap_at(span_of(entry.block)->owner);

	MUST(shared_put(span_of(entry.block), entry) && heap->state == HEAP_SHARED);
	/* The next to announce something won't be the one that tidies. */
	atomic_store(&heap->pending, 0);
	return heap;
}

static void take_from(struct heap *heap, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		held[i] = heap_take(heap, CLASS);
		assert_non_null(held[i].block);
		ledger_set(held[i].state, LEDGER_LIVE);
	}
}

static void free_elsewhere(struct entry entry)
{
	struct span *slab = span_of(entry.block);

	MUST(ledger_end_life(entry.state, LEDGER_FREE));
	heap_notify(slab);
}

static void free_held(size_t first, size_t count, size_t step)
{
	for (size_t i = first; i < count; i += step)
		free_elsewhere(held[i]);
}

static void give_all(struct heap *heap)
{
	shared_drop_all();
	pool_give(heap);
	pool_tidy();
	shared_drop_all();
	pool_tidy();
}

/* A slab that is announced stands where its owner looks. */
static void assert_announced_to_its_owner(struct heap *heap)
{
	for (const struct span *slab = heap->notified; slab != NULL; slab = slab->next_notified)
		assert_int_equal(slab->owner, heap->distance);
}

/* The listed slabs of a class go to the shared heap, and the magazine is filled from what that has. */
static void test_exchange(void **state UNUSED)
{
	struct heap *shared = shared_one();
	struct heap *heap = pool_take();

	take_from(heap, 300);
	free_held(0, 300, 2);
	heap_drain(heap);
	free_held(1, 2, 1);
	heap_drop(heap, CLASS, 0);
	assert_non_null(heap->bins[CLASS].partial);
	struct span *announced = span_of(held[1].block);
	assert_ptr_equal(atomic_load(&heap->notified), announced);
	assert_int_equal(shared_exchange(heap, CLASS, 5), 5);
	assert_null(heap->bins[CLASS].partial);
	/* It was announced to the heap, and is the other's now. */
	assert_int_equal(announced->owner, shared->distance);
	assert_null(atomic_load(&heap->notified));
	assert_announced_to_its_owner(shared);
	assert_int_equal(magazine_count(heap, CLASS), 5);
	for (size_t i = 1; i <= 5; i++) {
		const struct entry *entry = &heap->bins[CLASS].entries[i];
		assert_int_equal(ledger_get(entry->state), LEDGER_CACHED);
		assert_int_equal(span_of(entry->block)->owner, shared->distance);
	}
	assert_true(heap_is_valid(heap) && heap_is_valid(shared));
	for (size_t i = 3; i < 300; i += 2)
		free_elsewhere(held[i]);
	give_all(heap);
	assert_int_equal(slab_count(), 0);
}

/* What a magazine holds of a slab that is not its heap's goes back FREE, and the owner hears of it. */
static void test_drop_foreign(void **state UNUSED)
{
	struct heap *shared = shared_one();
	struct heap *heap = pool_take();

	take_from(heap, 10);
	free_held(0, 9, 1);
	heap_drop(heap, CLASS, 0);
	heap_drain(heap);
	assert_int_equal(shared_exchange(heap, CLASS, 7), 7);
	struct entry entry = heap->bins[CLASS].entries[1];
	struct span *slab = span_of(entry.block);
	uint16_t known = slab->free_count;
	shared_tidy();
	assert_null(atomic_load(&shared->notified));
	heap_drop(heap, CLASS, 1);
	assert_int_equal(ledger_get(entry.state), LEDGER_FREE);
	assert_int_equal(magazine_count(heap, CLASS), 1);
	assert_ptr_equal(atomic_load(&shared->notified), slab);
	assert_null(heap->bins[CLASS].partial);
	/* The header is its owner's to change. */
	assert_int_equal(slab->free_count, known);
	shared_tidy();
	assert_int_equal(slab->free_count, slab_block_count(slab) - 2);
	/* What is handed over meanwhile is the heap's own. */
	assert_true(shared_rob(heap, CLASS));
	heap_drop(heap, CLASS, 0);
	assert_int_equal(slab->free_count, slab_block_count(slab) - 1);
	free_elsewhere(held[9]);
	give_all(heap);
	assert_int_equal(slab_count(), 0);
}

/* A heap that needs a slab gets one of the shared heap's, with what is announced of it. */
static void test_rob(void **state UNUSED)
{
	struct heap *shared = shared_one();
	struct heap *heap = pool_take();
	struct entry first = take(CLASS), second = take(CLASS);
	struct span *slab = span_of(first.block);

	assert_ptr_equal(span_of(second.block), slab);
	shared_drop_all();
	free_elsewhere(second);
	assert_ptr_equal(atomic_load(&shared->notified), slab);
	assert_false(shared_rob(heap, CLASS_OF_64));
	assert_true(claim_try(slab));
	assert_false(shared_rob(heap, CLASS));
	claim_release(slab);
	assert_true(shared_rob(heap, CLASS));
	assert_int_equal(slab->owner, heap->distance);
	assert_ptr_equal(heap->bins[CLASS].partial, slab);
	assert_null(shared->bins[CLASS].partial);
	assert_announced_to_its_owner(heap);
	assert_announced_to_its_owner(shared);
	heap_drain(heap);
	assert_int_equal(slab->free_count, slab_block_count(slab) - 1);
	assert_true(heap_is_valid(heap) && heap_is_valid(shared));
	/* Nothing is left to rob. */
	assert_false(shared_rob(heap, CLASS));
	free_elsewhere(first);
	give_all(heap);
	assert_int_equal(slab_count(), 0);
}

/* A block whose slab was the shared heap's when the thread looked, and is another's when it has the lock. */
static void test_put_too_late(void **state UNUSED)
{
	struct heap *shared = shared_one();
	struct heap *heap = pool_take();

	/* The magazine is full: there is no place to put it but the slab. */
	for (size_t i = 0; i < 200; i++)
		held[i] = take(CLASS);
	for (size_t i = 0; shared->magazines[CLASS].top != shared->magazines[CLASS].limit; i++)
		assert_true(shared_put(span_of(held[199 - i].block), held[199 - i]));
	free_elsewhere(held[1]);
	shared_tidy();
	struct span *slab = span_of(held[0].block);
	while (slab->owner != heap->distance)
		assert_true(shared_rob(heap, CLASS));
	heap_drain(heap);
	uint16_t known = slab->free_count;
	assert_false(shared_put(slab, held[0]));
	assert_int_equal(ledger_get(held[0].state), LEDGER_LIVE);
	assert_int_equal(slab->free_count, known);
	assert_true(heap_is_valid(heap) && heap_is_valid(shared));
	for (size_t i = 0; i < 200; i++)
		if (ledger_get(held[i].state) == LEDGER_LIVE)
			free_elsewhere(held[i]);
	give_all(heap);
	assert_int_equal(slab_count(), 0);
}

/* A slab is released while it is announced; its header serves another heap, which must hear of what others free. */
static void test_released_while_announced(void **state UNUSED)
{
	struct heap *sleeper = pool_take();
	struct heap *heap = pool_take();

	take_from(sleeper, 1);
	struct span *header = span_of(held[0].block);
	heap_notify(header);
	ledger_set(held[0].state, LEDGER_CACHED);
	heap_put(sleeper, header, held[0]);
	heap_drop_all(sleeper);
	assert_int_equal(header->kind, SPAN_RETIRED);
	take_from(heap, 2);
	assert_ptr_equal(span_of(held[0].block), header);
	heap_drop(heap, CLASS, 0);
	uint16_t known = header->free_count;
	free_elsewhere(held[0]);
	heap_forward_orphans();
	heap_drain(heap);
	assert_int_equal(header->free_count, known + 1);
	free_elsewhere(held[1]);
	pool_give(sleeper);
	give_all(heap);
	assert_int_equal(slab_count(), 0);
}

/* ---- What is exported, and when ---- */

/* Allocates much, round after round; others free it, but for one in own_step, if that isn't 0. */
static void churn(struct heap *heap, size_t own_step, size_t count)
{
	for (size_t round = 0; round < count; round++) {
		take_from(heap, EXPORT_BLOCKS);
		for (size_t i = 0; i < EXPORT_BLOCKS; i++) {
			struct span *slab = span_of(held[i].block);
			if (own_step == 0 || i % own_step != 0 || slab->owner != heap->distance) {
				free_elsewhere(held[i]);
			} else {
				ledger_set(held[i].state, LEDGER_CACHED);
				heap_put(heap, slab, held[i]);
			}
		}
	}
}

static void test_export_is_learnt(void **state UNUSED)
{
	struct heap *shared = shared_one();
	struct heap *first = pool_take();
	struct heap *second = pool_take();
	struct heap *own = pool_take();

	/* A thread that frees its own does not export. */
	churn(own, 1, 8);
	churn(own, 2, 8);
	assert_false(own->exports);
	assert_int_equal(own->bins[CLASS].exports, 0);
	assert_int_equal(export_heaps(), 0);
	/* One whose blocks others free would, but is alone. */
	churn(first, 0, 8);
	assert_true(first->exports);
	assert_int_equal(export_heaps(), 1);
	assert_int_equal(first->bins[CLASS].exports, 0);
	take_from(first, 1);
	assert_int_equal(span_of(held[0].block)->owner, first->distance);
	free_elsewhere(held[0]);
	/* Two do, both. */
	churn(second, 0, 8);
	churn(first, 0, 8);
	assert_int_equal(export_heaps(), 2);
	assert_true(first->bins[CLASS].exports > 0 && second->bins[CLASS].exports > 0);
	size_t exported = 0;
	take_from(first, EXPORT_BLOCKS);
	for (size_t i = 0; i < EXPORT_BLOCKS; i++)
		exported += span_of(held[i].block)->owner == shared->distance;
	assert_true(exported > EXPORT_BLOCKS / 2);
	free_held(0, EXPORT_BLOCKS, 1);
	/* Their threads end: nothing of it stays. */
	heap_retire(first);
	assert_int_equal(export_heaps(), 1);
	assert_false(first->exports);
	assert_int_equal(first->bins[CLASS].exports, 0);
	assert_int_equal(magazine_count(first, CLASS), 0);
	heap_retire(first);
	assert_int_equal(export_heaps(), 1);
	pool_give(second);
	assert_int_equal(export_heaps(), 0);
	pool_give(own);
	give_all(first);
	assert_int_equal(slab_count(), 0);
}

/* ---- Announced while it moves ---- */

static _Atomic(struct span *) moving;
static _Atomic size_t told, asked;
static _Atomic bool stop;

static void *announce(void *argument UNUSED)
{
	for (size_t seen = 0;;) {
		size_t now;
		for (size_t spins = 0; (now = atomic_load(&asked)) == seen && !atomic_load(&stop); spins++)
			if (spins % 1024 == 1023)
				sched_yield();
			else
				cpu_relax();
		if (atomic_load(&stop))
			return NULL;
		seen = now;
		for (size_t i = now % 4; i > 0; i--)
			cpu_relax();
		heap_notify(atomic_load(&moving));
		atomic_store(&told, now);
	}
}

/* One announces a slab while another hands it over: whatever comes first, it is the new owner who hears of it. */
static void test_announced_while_handed_over(void **state UNUSED)
{
	struct heap *heaps[2] = { pool_take(), pool_take() };
	struct random random = random_start(15);
	pthread_t thread;

	take_from(heaps[0], 1);
	heap_drop_all(heaps[0]);
	atomic_store(&moving, span_of(held[0].block));
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, announce, NULL), 0);
	for (size_t i = 1, count = rounds(400000, 2000); i <= count; i++) {
		struct heap *from = heaps[(i - 1) % 2], *to = heaps[i % 2];
		atomic_store(&asked, i);
		for (size_t wait = random_below(&random, 256); wait > 0; wait--)
			__asm__ volatile("");
		MUST(claim_try(moving));
		heap_hand_over(from, to, moving);
		heap_drain(from);
		for (size_t spins = 0; atomic_load(&told) != i; spins++)
			if (spins % 1024 == 1023)
				sched_yield();
			else
				cpu_relax();
		assert_null(atomic_load(&from->notified));
		assert_ptr_equal(atomic_load(&to->notified), moving);
		heap_drain(to);
		assert_null(atomic_load(&to->notified));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	free_elsewhere(held[0]);
	pool_give(heaps[0]);
	give_all(heaps[1]);
	assert_int_equal(slab_count(), 0);
}

/* ---- After a fork ---- */

static struct heap *own, *dead;

static void become_a_child(void)
{
	atomic_store(&ledger_epoch, epoch_now() + 1);
	pool_fork_child(own);
	pool_tidy();
	MUST(dead->state == HEAP_POOLED);
}

/* `own` and the shared heap hold blocks of slabs that the dead heap has taken over since. */
static void check_living_magazines(void *argument UNUSED)
{
	struct heap *shared = shared_one();

	become_a_child();
	/* No block twice: all that is handed out is marked, and must not come again. */
	for (size_t i = 0; i < 2000; i++) {
		struct entry entry = i < 1000 ? heap_take(own, CLASS) : take(CLASS);
		MUST(entry.block != NULL);
		MUST(*(unsigned char *)entry.block != 0xee);
		memset(entry.block, 0xee, 1024);
		ledger_set(entry.state, LEDGER_LIVE);
	}
	MUST(heap_is_valid(own) && heap_is_valid(dead) && heap_is_valid(shared));
}

/* The dead heap held blocks of the shared heap's slabs, and its thread freed one without announcing it. */
static void check_dead_magazines(void *slabs_left)
{
	become_a_child();
	shared_drop_all();
	heap_drop_all(own);
	heap_drain(own);
	pool_tidy();
	shared_drop_all();
	MUST(slab_count() == *(size_t *)slabs_left);
}

static void test_fork_with_foreign_entries(void **state UNUSED)
{
	size_t none = 0;

	own = pool_take();
	dead = pool_take();
	shared_one();
	/* In the magazines of the living. */
	struct entry pin = take(CLASS);
	memset(pin.block, 0, 1024);
	assert_true(magazine_grow(own, CLASS) && shared_exchange(own, CLASS, 7) > 0);
	assert_true(shared_rob(dead, CLASS));
	assert_int_equal(span_of(pin.block)->owner, dead->distance);
	int status = child_run(check_living_magazines, NULL, NULL, 0);
	free_elsewhere(pin);
	heap_drop_all(own);
	shared_drop_all();
	heap_drain(dead);
	ASSERT_EXITED(status);
	assert_int_equal(slab_count(), 0);
	/* In the dead one's. */
	pin = take(CLASS);
	shared_drop_all();
	assert_true(magazine_grow(dead, CLASS) && shared_exchange(dead, CLASS, 7) > 0);
	assert_true(ledger_end_life(pin.state, LEDGER_FREE));
	status = child_run(check_dead_magazines, &none, NULL, 0);
	heap_notify(span_of(pin.block));
	ASSERT_EXITED(status);
	/* Nothing but what was freed and not announced. */
	pin = take(CLASS);
	heap_retire(dead);
	shared_drop_all();
	assert_true(ledger_end_life(pin.state, LEDGER_FREE));
	status = child_run(check_dead_magazines, &none, NULL, 0);
	heap_notify(span_of(pin.block));
	ASSERT_EXITED(status);
	pool_give(own);
	give_all(dead);
	assert_int_equal(slab_count(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_and_put),
		cmocka_unit_test(test_one_for_all),
		cmocka_unit_test(test_tidies),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_drop_foreign),
		cmocka_unit_test(test_rob),
		cmocka_unit_test(test_put_too_late),
		cmocka_unit_test(test_released_while_announced),
		cmocka_unit_test(test_export_is_learnt),
		cmocka_unit_test(test_announced_while_handed_over),
		cmocka_unit_test(test_fork_with_foreign_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Heaps: refill, drop, and what others announce. */
#include "model/support.h"

#include <pthread.h>
#include <sched.h>

#include "block/large.h"
#include "block/lookup.h"
#include "space/span.h"
#include "thread/heap.h"
#include "thread/magazine.h"
#include "thread/pool.h"

#define CLASS CLASS_OF_1024
#define HELD_MAX ((size_t)20000)

static struct heap *heap;
static struct entry held[HELD_MAX];

static void take(size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++) {
		held[i] = heap_take(heap, CLASS);
		assert_non_null(held[i].block);
		assert_in_range(ledger_get(held[i].state), LEDGER_CACHED, LEDGER_CACHED_ZERO);
		assert_int_equal(span_of(held[i].block)->owner, heap->distance);
		ledger_set(held[i].state, LEDGER_LIVE);
		memset(held[i].block, (int)i, 1024);
	}
	assert_true(heap_is_valid(heap));
}

static void put(size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++) {
		ledger_set(held[i].state, LEDGER_CACHED);
		heap_put(heap, span_of(held[i].block), held[i]);
	}
	assert_true(heap_is_valid(heap));
}

/* As another thread would: LIVE to FREE, and tell. */
static void free_elsewhere(size_t first, size_t count)
{
	for (size_t i = first; i < first + count; i++) {
		struct span *slab = span_of(held[i].block);
		MUST(ledger_end_life(held[i].state, LEDGER_FREE));
		heap_notify(slab);
	}
}

/* Slabs in use, by the page map; their CACHED and LIVE blocks. */
static size_t count_slabs(size_t *cached, size_t *live)
{
	const struct span *last = NULL;
	size_t count = 0;

	*cached = *live = 0;
	for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES) {
		const struct span *span = span_of((void *)at);
		if (span->kind != SPAN_SLAB || span == last)
			continue;
		last = span;
		count++;
		*cached += ledger_count_cached(span->ledger, span->first_index, slab_block_count(span));
		*live += ledger_count_live(span->ledger, span->first_index, slab_block_count(span));
	}
	return count;
}

static void assert_empty(void)
{
	size_t cached, live;

	heap_drop_all(heap);
	heap_drain(heap);
	assert_int_equal(count_slabs(&cached, &live), 0);
	assert_true(heap_is_valid(heap));
}

static void test_empty_heap_owns_nothing(void **state UNUSED)
{
	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		assert_null(heap_empty.magazines[i].top->block);
		assert_ptr_equal(heap_empty.magazines[i].top, heap_empty.magazines[i].limit);
		assert_ptr_equal((char *)heap_empty.magazines + ((size_t)i << MAGAZINE_LOG2), &heap_empty.magazines[i]);
	}
	assert_ptr_equal(heap_at(0), &heap_empty);
	assert_ptr_equal(heap_at(heap->distance), heap);
	assert_int_not_equal(heap->distance, OWNER_NONE);
}

/* A full magazine is passed by: frees go straight to slabs, on grants that never let the last block go unseen. */
static void test_returns(void **state UNUSED)
{
	size_t cached, live, granted = 0;

	take(0, 3000);
	for (size_t step = 0; step < 7; step++)
		for (size_t i = step; i < 3000; i += 7) {
			struct span *slab = span_of(held[i].block);
			if (heap->magazines[CLASS].top == heap->magazines[CLASS].limit && slab_return_granted(slab, held[i].state)) {
				granted++;
				assert_true(slab->listed);
				assert_true(slab->free_count + slab->returns_granted < slab_block_count(slab));
			} else {
				put(i, 1);
			}
		}
	assert_in_range(granted, 1000, 2999);
	/* Nothing is left: a thread that falls asleep now holds no page back. */
	assert_int_equal(count_slabs(&cached, &live), 0);
	assert_int_equal(live, 0);
	assert_int_equal(cached, 0);
	assert_int_equal(magazine_count(heap, CLASS), 0);
	/* Refills know of all of them. */
	take(0, 3000);
	put(0, 3000);
	assert_empty();
}

static void test_take_and_put(void **state UNUSED)
{
	size_t cached, live;

	take(0, 3000);
	for (size_t i = 0; i < 3000; i++)
		for (size_t at = 0; at < 1024; at += 341)
			assert_int_equal(((unsigned char *)held[i].block)[at], i % 256);
	count_slabs(&cached, &live);
	assert_int_equal(live, 3000);
	assert_int_equal(cached, magazine_count(heap, CLASS));
	put(0, 3000);
	size_t slabs = count_slabs(&cached, &live);
	assert_int_equal(live, 0);
	assert_int_equal(cached, magazine_count(heap, CLASS));
	/* What isn't cached has gone. */
	assert_true(slabs <= cached);
	assert_empty();
}

static void test_drop_keeps_the_youngest(void **state UNUSED)
{
	take(0, 6);
	put(0, 6);
	struct magazine *magazine = &heap->magazines[CLASS];
	void *youngest = magazine->top->block;
	void *second = magazine->top[-1].block;

	assert_ptr_equal(youngest, held[5].block);
	heap_drop(heap, CLASS, 2);
	assert_int_equal(magazine_count(heap, CLASS), 2);
	assert_ptr_equal(magazine->top->block, youngest);
	assert_ptr_equal(magazine->top[-1].block, second);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ledger_get(held[i].state), LEDGER_FREE);
	heap_drop(heap, CLASS, 100);
	assert_int_equal(magazine_count(heap, CLASS), 2);
	assert_empty();
}

static void test_every_class(void **state UNUSED)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		struct entry entries[40];
		for (size_t i = 0; i < 40; i++) {
			entries[i] = heap_take(heap, class_index);
			assert_non_null(entries[i].block);
			assert_int_equal(span_of(entries[i].block)->class_index, class_index);
			ledger_set(entries[i].state, LEDGER_LIVE);
		}
		for (size_t i = 0; i < 40; i++) {
			ledger_set(entries[i].state, LEDGER_CACHED);
			heap_put(heap, span_of(entries[i].block), entries[i]);
		}
	}
	assert_true(heap_is_valid(heap));
	assert_empty();
}

static void test_others_free(void **state UNUSED)
{
	size_t cached, live;

	take(0, 2000);
	size_t slabs = count_slabs(&cached, &live);
	free_elsewhere(0, 1999);
	count_slabs(&cached, &live);
	assert_int_equal(live, 1);
	heap_drain(heap);
	assert_null(atomic_load(&heap->notified));
	/* Empty slabs are gone, but for those that the magazine or the last block hold. */
	assert_true(count_slabs(&cached, &live) <= 3);
	assert_true(slabs > 20);
	/* What is free is found without a new slab. */
	size_t committed = region_first.committed_bytes;
	size_t before = count_slabs(&cached, &live);
	struct span *slab = span_of(held[1999].block);
	size_t room = slab_block_count(slab) - 1;
	take(0, min_size(room, 10));
	assert_int_equal(count_slabs(&cached, &live), before);
	assert_int_equal(region_first.committed_bytes, committed);
	put(0, min_size(room, 10));
	put(1999, 1);
	assert_empty();
}

/* A slab is announced once, however much of it is freed, and again after it was looked at. */
static void test_announced_once(void **state UNUSED)
{
	take(0, 500);
	struct span *slab = span_of(held[0].block);
	free_elsewhere(0, 2);
	assert_ptr_equal(atomic_load(&heap->notified), slab);
	assert_int_equal(slab->notified, epoch_now());
	heap_notify(slab);
	assert_ptr_equal(atomic_load(&heap->notified), slab);
	assert_null(slab->next_notified);
	heap_drain(heap);
	assert_int_equal(slab->notified, 0);
	assert_true(slab->listed);
	assert_int_equal(slab->claim, 0);
	free_elsewhere(2, 1);
	assert_ptr_equal(atomic_load(&heap->notified), slab);
	free_elsewhere(3, 497);
	assert_empty();
}

/* A claim that somebody else holds, as trimming does for a while: nothing is lost. */
static void test_claimed_while_drained(void **state UNUSED)
{
	size_t cached, live;

	take(0, 100);
	struct span *slab = span_of(held[0].block);
	assert_true(claim_try(slab));
	free_elsewhere(0, 100);
	heap_drain(heap);
	heap_drop_all(heap);
	assert_ptr_equal(atomic_load(&heap->notified), slab);
	claim_release(slab);
	heap_drain(heap);
	assert_int_equal(count_slabs(&cached, &live), 0);
	/* The same for what the owner drops. */
	take(0, 4);
	slab = span_of(held[0].block);
	assert_true(claim_try(slab));
	put(0, 4);
	heap_drop_all(heap);
	assert_int_equal(count_slabs(&cached, &live), 1);
	claim_release(slab);
	heap_drain(heap);
	assert_int_equal(count_slabs(&cached, &live), 0);
}

static _Atomic bool may_end;

/* Ends a claim when the maker of the next slab has most likely met it. */
static void *end_claim(void *header)
{
	while (!atomic_load(&may_end))
		sched_yield();
	for (size_t i = 0; i < 100; i++)
		sched_yield();
	claim_release(header);
	return NULL;
}

/* Trimming takes a slab's claim without knowing whether the slab is just being released or made: a header that is claimed
 * for a moment is no reason to be out of memory. */
static void test_claimed_while_made(void **state UNUSED)
{
	pthread_t thread;

	for (size_t i = 0; i < 20; i++) {
		take(0, 1);
		struct span *header = span_of(held[0].block);
		put(0, 1);
		assert_empty();
		assert_int_equal(header->kind, SPAN_RETIRED);
		assert_true(claim_try(header));
		atomic_store(&may_end, false);
		assert_int_equal(pthread_create(&thread, NULL, end_claim, header), 0);
		atomic_store(&may_end, true);
		take(0, 1);
		pthread_join(thread, NULL);
		put(0, 1);
		assert_empty();
	}
}

/* ---- Announcements that move on ---- */

static void test_passed_on(void **state UNUSED)
{
	struct heap *other = pool_take();

	take(0, 200);
	struct span *slab = span_of(held[0].block);
	struct span *second = span_of(held[199].block);
	assert_ptr_not_equal(slab, second);
	free_elsewhere(0, 1);
	free_elsewhere(199, 1);
	/* The first one's owner changes while it is on the stack. */
	assert_true(claim_try(slab));
	heap_unlist(heap, slab);
	atomic_store(&slab->owner, other->distance);
	claim_release(slab);
	heap_drain(heap);
	assert_ptr_equal(atomic_load(&other->notified), slab);
	assert_int_equal(slab->notified, epoch_now());
	assert_true(second->listed);
	heap_drain(other);
	assert_true(slab->listed);
	assert_ptr_equal(other->bins[CLASS].partial, slab);
	assert_true(heap_is_valid(other) && heap_is_valid(heap));
	/* Back, for the end. */
	assert_true(claim_try(slab));
	heap_unlist(other, slab);
	atomic_store(&slab->owner, heap->distance);
	heap_settle(heap, slab);
	free_elsewhere(1, 198);
	assert_empty();
	pool_give(other);
}

/* A slab that is released while it is announced: its header waits with the orphans until somebody forwards it. */
static void test_orphans(void **state UNUSED)
{
	take(0, 1);
	struct span *slab = span_of(held[0].block);
	heap_drop_all(heap);
	assert_true(notification_set(slab));     /* by one who is about to link it */
	ledger_set_free(held[0].state);
	assert_true(claim_try(slab));
	slab_count_free(slab);
	heap_settle(heap, slab);
	assert_int_equal(slab->kind, SPAN_RETIRED);
	notification_clear(slab);
	heap_notify(slab);
	assert_null(atomic_load(&heap->notified));
	heap_forward_orphans();
	assert_int_equal(slab->notified, 0);
	/* The header is a slab again when it is forwarded. */
	heap_notify(slab);
	assert_ptr_equal(slab_make(CLASS, heap->distance, &heap_empty.magazines[CLASS]), slab);
	claim_release(slab);
	heap_forward_orphans();
	assert_ptr_equal(atomic_load(&heap->notified), slab);
	assert_empty();
}

/* ---- With threads ---- */

/* Blocks, each with its entry in it. */
static _Atomic(struct entry *) passed[64];
static _Atomic bool stop;

static void free_passed(const struct entry *inside)
{
	struct entry entry = *inside;
	struct span *slab = span_of(entry.block);

	MUST(entry.block == inside);
	memset(entry.block, 0xab, 1024);
	MUST(ledger_end_life(entry.state, LEDGER_FREE));
	heap_notify(slab);
}

static void *free_what_is_passed(void *argument UNUSED)
{
	while (!atomic_load(&stop))
		for (size_t i = 0; i < 64; i++) {
			struct entry *inside = atomic_exchange(&passed[i], NULL);
			if (inside != NULL)
				free_passed(inside);
		}
	return NULL;
}

static void *hold_claims(void *argument UNUSED)
{
	while (!atomic_load(&stop))
		for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES) {
			struct span *slab = span_of((void *)at);
			if (slab != &span_nobody && atomic_load(&slab->multiplier) > 1 && claim_try(slab))
				claim_release(slab);
		}
	return NULL;
}

/* Blocks are freed by others as fast as they are made, while claims come and go: none is lost in the end. */
static void test_threads_free(void **state UNUSED)
{
	pthread_t threads[3];
	struct random random = random_start(13);
	size_t refused = 0;

	atomic_store(&stop, false);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, free_what_is_passed, NULL), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, hold_claims, NULL), 0);
	for (size_t i = 0, count = rounds(400000, 4000); i < count; i++) {
		struct entry entry = heap_take(heap, CLASS);
		if (entry.block == NULL) {
			refused++;
			continue;
		}
		ledger_set(entry.state, LEDGER_LIVE);
		memset(entry.block, 0xcd, 1024);
		*(struct entry *)entry.block = entry;
		struct entry *other = atomic_exchange(&passed[random_below(&random, 64)], entry.block);
		if (other != NULL)
			free_passed(other);
	}
	for (size_t left = 64; left > 0;)
		for (size_t i = left = 0; i < 64; i++)
			left += atomic_load(&passed[i]) != NULL;
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(refused, 0);
	assert_empty();
}

static int setup(void **state UNUSED)
{
	heap = pool_take();
	return heap == NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_heap_owns_nothing),
		cmocka_unit_test(test_returns),
		cmocka_unit_test(test_take_and_put),
		cmocka_unit_test(test_drop_keeps_the_youngest),
		cmocka_unit_test(test_every_class),
		cmocka_unit_test(test_others_free),
		cmocka_unit_test(test_announced_once),
		cmocka_unit_test(test_claimed_while_drained),
		cmocka_unit_test(test_claimed_while_made),
		cmocka_unit_test(test_passed_on),
		cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_threads_free),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

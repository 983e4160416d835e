/* Heaps that nobody's thread uses: taken again, robbed, told, and what a fork leaves of them. */
#include "model/support.h"

#include "thread/heap.h"
#include "thread/magazine.h"
#include "thread/pool.h"

#define CLASS CLASS_OF_512

static struct entry take(struct heap *heap)
{
	struct entry entry = heap_take(heap, CLASS);

	MUST(entry.block != NULL);
	ledger_set(entry.state, LEDGER_LIVE);
	return entry;
}

static void free_elsewhere(struct entry entry)
{
	struct span *slab = span_of(entry.block);

	MUST(ledger_end_life(entry.state, LEDGER_FREE));
	heap_notify(slab);
}

static size_t slab_count(void)
{
	size_t count = 0;

	for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES) {
		const struct span *span = span_of((void *)at);
		count += span->kind == SPAN_SLAB && span->start == at;
	}
	return count;
}

static void test_take_and_give(void **state UNUSED)
{
	struct heap *first = pool_take();
	struct heap *second = pool_take();

	assert_ptr_not_equal(first, second);
	assert_int_equal(pool_counts().made, 2);
	assert_int_equal(pool_counts().pooled, 0);
	assert_int_equal(first->state, HEAP_IN_USE);
	pool_give(first);
	assert_int_equal(first->state, HEAP_POOLED);
	assert_int_equal(pool_counts().pooled, 1);
	pool_give(second);
	/* The last one given is the warmest. */
	assert_ptr_equal(pool_take(), second);
	assert_ptr_equal(pool_take(), first);
	pool_give(second);
	pool_give(first);
	assert_int_equal(pool_counts().made, 2);
	assert_int_equal(pool_counts().pooled, 2);
}

/* A heap that is given keeps its partial slabs, empties its magazines, and lets empty slabs go. */
static void test_give_keeps_what_is_live(void **state UNUSED)
{
	struct heap *heap = pool_take();
	struct entry live = take(heap);

	for (size_t i = 0; i < 1000; i++)
		free_elsewhere(take(heap));
	pool_give(heap);
	assert_int_equal(slab_count(), 1);
	assert_int_equal(magazine_count(heap, CLASS), 0);
	assert_ptr_equal(heap->bins[CLASS].partial, span_of(live.block));
	/* The next thread uses them. */
	assert_ptr_equal(pool_take(), heap);
	struct entry next = take(heap);
	assert_ptr_equal(span_of(next.block), span_of(live.block));
	free_elsewhere(next);
	free_elsewhere(live);
	pool_give(heap);
	assert_int_equal(slab_count(), 0);
}

static void test_help(void **state UNUSED)
{
	struct heap *sleeper = pool_take();
	struct heap *worker = pool_take();
	struct entry live = take(sleeper);
	struct span *slab = span_of(live.block);

	assert_false(pool_help(worker, CLASS));
	pool_give(sleeper);
	assert_false(pool_help(worker, CLASS_OF_16));
	/* A slab whose claim is taken is left alone. */
	assert_true(claim_try(slab));
	assert_false(pool_help(worker, CLASS));
	claim_release(slab);
	struct entry robbed = take(worker);
	assert_ptr_equal(span_of(robbed.block), slab);
	assert_int_equal(slab->owner, worker->distance);
	assert_true(heap_is_valid(worker));
	assert_null(sleeper->bins[CLASS].partial);
	free_elsewhere(live);
	free_elsewhere(robbed);
	pool_give(worker);
	pool_tidy();
	assert_int_equal(slab_count(), 0);
}

/* Who frees into a heap that nobody uses looks after it from time to time; tidying does at once. */
static void test_nobody_listens(void **state UNUSED)
{
	struct heap *heap = pool_take();
	static struct entry entries[8000];

	for (size_t i = 0; i < 8000; i++)
		entries[i] = take(heap);
	pool_give(heap);
	size_t slabs = slab_count();
	for (size_t i = 0; i < 8000; i++)
		free_elsewhere(entries[i]);
	assert_true(slab_count() < slabs);
	pool_tidy();
	assert_int_equal(slab_count(), 0);
}

/* ---- After a fork ---- */

/* What a child finds: a heap in use by a thread that is gone, magazines full, in the middle of anything. */
static struct heap *dead;
static struct heap *own;
static struct entry entries[3000];
static size_t entry_count;
/* A slab in the middle of the dead heap's list, and one with blocks in its magazine. */
static struct span *listed_slab;
static struct span *cached_slab;

static void bump_epoch(void)
{
	atomic_store(&ledger_epoch, epoch_now() + 1);
}

static void check_walk(void *argument UNUSED)
{
	size_t made = pool_counts().made;

	bump_epoch();
	pool_fork_child(own);
	MUST(dead->state == HEAP_DEAD && own->state == HEAP_IN_USE);
	MUST(magazine_count(dead, CLASS) == 0 && dead->bins[CLASS].partial == NULL);
	/* Frees into it go on, before and after the walk. */
	size_t last = entry_count - 1;
	for (size_t i = 0; i < 1000; i++)
		free_elsewhere(entries[i]);
	pool_tidy();
	MUST(dead->state == HEAP_POOLED);
	for (size_t i = 1000; i < last; i++)
		free_elsewhere(entries[i]);
	pool_tidy();
	MUST(heap_is_valid(dead) && heap_is_valid(own));
	MUST(slab_count() == 1);
	struct span *slab = span_of(entries[last].block);
	MUST(slab_count_free(slab) == slab_block_count(slab) - 1);
	MUST(slab->listed && dead->bins[CLASS].partial == slab);
	MUST(pool_take() == dead && pool_counts().made == made);
	free_elsewhere(entries[last]);
	heap_drain(dead);
	MUST(slab_count() == 0);
}

/* Somebody else, trimming, holds the claim of a slab while the walk passes: it must not be left behind. */
static void check_walk_past_a_claim(void *claimed)
{
	bump_epoch();
	pool_fork_child(own);
	struct span *slab = *(struct span **)claimed;
	MUST(claim_try(slab));
	pool_help(own, CLASS_OF_16);
	pool_help(own, CLASS_OF_16);
	claim_release(slab);
	pool_tidy();
	for (size_t i = 0; i < entry_count; i++)
		free_elsewhere(entries[i]);
	pool_tidy();
	pool_tidy();
	MUST(heap_is_valid(dead));
	MUST(slab_count() == 0);
}

static void make_dead(void)
{
	entry_count = 0;
	own = pool_take();
	dead = pool_take();
	for (size_t i = 0; i < 3000; i++)
		entries[i] = take(dead);
	/* Some free blocks in lists and in the magazine. */
	for (size_t i = 0; i < 3000; i += 7) {
		ledger_set(entries[i].state, LEDGER_CACHED);
		heap_put(dead, span_of(entries[i].block), entries[i]);
		entries[i] = take(dead);
	}
	for (size_t i = 0; i < 3000; i++)
		if (i % 50 == 0)
			free_elsewhere(entries[i]);
		else
			entries[entry_count++] = entries[i];
	heap_drain(dead);
	cached_slab = span_of(dead->magazines[CLASS].top->block);
	listed_slab = dead->bins[CLASS].partial->list.next;
	assert_true(cached_slab->multiplier > 1 && listed_slab->list.next != NULL);
}

static void unmake_dead(void)
{
	for (size_t i = 0; i < entry_count; i++)
		free_elsewhere(entries[i]);
	pool_give(dead);
	pool_give(own);
	assert_int_equal(slab_count(), 0);
}

static void test_dead_heaps(void **state UNUSED)
{
	make_dead();
	int status = child_run(check_walk, NULL, NULL, 0);
	unmake_dead();
	ASSERT_EXITED(status);
}

static void test_walk_past_a_claim(void **state UNUSED)
{
	make_dead();
	int cached = child_run(check_walk_past_a_claim, &cached_slab, NULL, 0);
	int listed = child_run(check_walk_past_a_claim, &listed_slab, NULL, 0);
	unmake_dead();
	ASSERT_EXITED(cached);
	ASSERT_EXITED(listed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_take_and_give),
		cmocka_unit_test(test_give_keeps_what_is_live),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_dead_heaps),
		cmocka_unit_test(test_walk_past_a_claim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Sampling: intervals, batches, and that whoever empties magazines empties what stands in front of them. */
#include "model/support.h"

#include "thread/heap.h"
#include "thread/magazine.h"
#include "thread/pool.h"
#include "thread/sample.h"

#define INTERVAL 50
#define CLASS CLASS_OF_112
#define OTHER CLASS_OF_9280

static struct heap *heap;
static size_t samples;

/* As malloc does it; {NULL} is a sample. */
static struct entry take(unsigned class_index)
{
	struct magazine *magazine = &heap->magazines[class_index];
	struct entry entry = *magazine->top;

	if (entry.block != NULL) {
		magazine->top--;
	} else if (sample_turn(heap, class_index)) {
		samples++;
		return (struct entry){ NULL, NULL };
	} else {
		entry = heap_take(heap, class_index);
		assert_non_null(entry.block);
	}
	ledger_set(entry.state, LEDGER_LIVE);
	return entry;
}

/* As free does it. */
static void put(struct entry entry)
{
	struct span *slab = span_of(entry.block);
	struct magazine *magazine = (struct magazine *)(slab->magazine + heap->distance);

	assert_ptr_equal(magazine, &heap->counted.stock[slab->class_index]);
	if (magazine->top == magazine->limit && slab_return_granted(slab, entry.state))
		return;
	ledger_set(entry.state, LEDGER_CACHED);
	heap_put(heap, slab, entry);
}

static size_t front_count(unsigned class_index)
{
	const struct entry *entries = heap->counted.fronts[class_index];

	return entries == NULL ? 0 : (size_t)(heap->magazines[class_index].top - entries);
}

/* One class, one block at a time: each interval is as it was drawn, and none is forgotten. */
static void test_every_interval(void **state UNUSED)
{
	size_t allocations = rounds(1000000, 100000);
	size_t since = 0, sum = 0, longest = 0, shortest = SIZE_MAX, intervals = 0;
	bool first = true;

	for (size_t i = 0; i < allocations; i++) {
		struct entry entry = take(CLASS);
		since++;
		if (entry.block != NULL) {
			put(entry);
			continue;
		}
		if (!first) {
			sum += since;
			longest = max_size(longest, since);
			shortest = min_size(shortest, since);
			intervals++;
		}
		first = false;
		since = 0;
	}
	assert_in_range(shortest, 1, 3);
	assert_in_range(longest, 2 * INTERVAL - 4, 2 * INTERVAL - 1);
	/* Five standard deviations of the mean: N / sqrt(3 * intervals) each. */
	double mean = (double)sum / (double)intervals;
	double bound = 5 * (INTERVAL / 1.7) / (intervals > 10000 ? 100 : 40);
	assert_true(mean > INTERVAL - bound && mean < INTERVAL + bound);
	assert_true(heap_is_valid(heap));
}

/* Batches are large where blocks are small, and never reach beyond a sample. */
static void test_batches(void **state UNUSED)
{
	size_t largest = 0;

	for (size_t i = 0; i < 10000; i++) {
		struct entry entry = take(CLASS);
		largest = max_size(largest, front_count(CLASS) + 1);
		if (entry.block != NULL)
			put(entry);
	}
	assert_in_range(largest, 20, sample_front_max(CLASS) + 1);
	for (size_t class_index = 0; class_index < CLASS_COUNT; class_index++)
		assert_in_range(sample_front_max((unsigned)class_index), 1, size_classes[class_index].magazine_max);
}

/* What the fronts hold goes back to the slabs, and doesn't count. */
static void test_drop(void **state UNUSED)
{
	struct entry held[40];

	for (size_t round = 0; round < 200; round++) {
		unsigned class_index = round % 2 == 0 ? CLASS : OTHER;
		for (size_t i = 0; i < 40; i++)
			held[i] = take(class_index);
		for (size_t i = 0; i < 40; i++)
			if (held[i].block != NULL)
				put(held[i]);
		size_t fronts = front_count(CLASS) + front_count(OTHER);
		uint64_t left = heap->counted.left;
		heap_drop_all(heap);
		heap_drain(heap);
		assert_int_equal(front_count(class_index), 0);
		assert_int_equal(magazine_count(heap, class_index), 0);
		assert_int_equal(heap->counted.left, left + fronts);
		assert_true(heap_is_valid(heap));
	}
	for (uintptr_t at = region_first.base; at < region_first.base + region_first.committed_bytes; at += UNIT_BYTES)
		assert_int_not_equal(span_of((void *)at)->kind, SPAN_SLAB);
}

/* A class whose sample is due keeps it whatever the others do. */
static void test_due(void **state UNUSED)
{
	while (!heap->counted.due[CLASS]) {
		struct entry entry = take(CLASS);
		if (entry.block != NULL)
			put(entry);
	}
	for (size_t i = 0; i < 1000; i++) {
		struct entry entry = take(OTHER);
		if (entry.block != NULL)
			put(entry);
		assert_true(heap->counted.due[CLASS]);
	}
	for (size_t left = front_count(CLASS); left > 0; left--)
		put(take(CLASS));
	size_t before = samples;
	assert_null(take(CLASS).block);
	assert_int_equal(samples, before + 1);
	assert_false(heap->counted.due[CLASS]);
}

static void test_large(void **state UNUSED)
{
	size_t count = rounds(500000, 100000);
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		found += sample_turn(heap, CLASS_COUNT);
	assert_in_range(found, count / INTERVAL * 9 / 10, count / INTERVAL * 11 / 10);
	found = 0;
	for (size_t i = 0; i < count; i++)
		found += sample_turn(NULL, CLASS);
	assert_in_range(found, count / INTERVAL * 9 / 10, count / INTERVAL * 11 / 10);
}

/* The child of a fork samples other blocks than its parent, from where it is. */
static void test_fork_child(void **state UNUSED)
{
	size_t sum = 0;

	for (size_t i = 0; i < 1000; i++) {
		struct entry entry = take(CLASS);
		if (entry.block != NULL)
			put(entry);
		sample_fork_child(heap);
		assert_int_equal(front_count(CLASS), 0);
		assert_false(heap->counted.due[CLASS]);
		assert_in_range(heap->counted.left, 0, 2 * INTERVAL - 2);
		sum += heap->counted.left;
		assert_true(heap_is_valid(heap));
	}
	/* The rest of an interval of 2N/3 is a third of the longest. */
	assert_in_range(sum / 1000, INTERVAL * 2 / 3 - 8, INTERVAL * 2 / 3 + 8);
}

static int make_heap(void **state UNUSED)
{
	sample_configure(INTERVAL);
	heap = pool_take();
	return heap == NULL || heap->stock == heap->magazines;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_interval), cmocka_unit_test(test_batches), cmocka_unit_test(test_drop),
		cmocka_unit_test(test_due),            cmocka_unit_test(test_large),   cmocka_unit_test(test_fork_child),
	};
	return cmocka_run_group_tests(tests, make_heap, NULL);
}

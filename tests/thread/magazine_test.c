/* The bounds of magazines: they follow demand between their smallest and the class's largest. */
#include "model/support.h"

#include "space/meta.h"
#include "thread/magazine.h"
#include "thread/pool.h"

static struct heap *heap;

static size_t most(unsigned class_index)
{
	return size_classes[class_index].magazine_max;
}

static void check_bounds(unsigned class_index)
{
	const struct bin *bin = &heap->bins[class_index];
	const struct magazine *magazine = &heap->magazines[class_index];

	assert_true(bin->allowed >= min_size(7, most(class_index)));
	assert_true(bin->allowed <= most(class_index) && bin->allowed <= bin->capacity);
	assert_ptr_equal(magazine->limit, bin->entries + bin->allowed);
	assert_null(bin->entries[0].block);
}

static void test_grows_by_doubling(void **state UNUSED)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		size_t expected = min_size(7, most(class_index));
		assert_int_equal(magazine_count(heap, class_index), 0);
		for (size_t i = 0; i < 10; i++) {
			assert_true(magazine_grow(heap, class_index));
			assert_int_equal(heap->bins[class_index].allowed, expected);
			check_bounds(class_index);
			expected = min_size(expected * 2 + 1, most(class_index));
		}
		assert_int_equal(heap->bins[class_index].allowed, most(class_index));
	}
	assert_true(heap_is_valid(heap));
}

/* The first drop after a refill, and the first refill after a drop, change nothing: demand swings that far. A drop of
 * blocks that lie together changes nothing either. */
static void test_halves_when_nothing_is_taken(void **state UNUSED)
{
	unsigned class_index = CLASS_OF_64;
	struct bin *bin = &heap->bins[class_index];

	assert_int_equal(bin->allowed, 127);
	assert_false(magazine_dropped(heap, class_index, true));
	assert_int_equal(bin->allowed, 127);
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, 127);
	assert_false(magazine_dropped(heap, class_index, true));
	assert_false(magazine_dropped(heap, class_index, false));
	assert_int_equal(bin->allowed, 127);
	for (size_t expected = 63; expected >= 7; expected /= 2) {
		assert_true(magazine_dropped(heap, class_index, true));
		assert_int_equal(bin->allowed, expected);
		check_bounds(class_index);
	}
	for (size_t i = 0; i < 5; i++)
		assert_false(magazine_dropped(heap, class_index, true));
	assert_int_equal(bin->allowed, 7);
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, 7);
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, 15);
	check_bounds(class_index);
}

/* What is in it stays in it, in order. */
static void test_contents_move_along(void **state UNUSED)
{
	unsigned class_index = CLASS_OF_96;
	static char blocks[7];
	struct magazine *magazine = &heap->magazines[class_index];
	struct heap *other = pool_take();

	heap = other;
	magazine = &heap->magazines[class_index];
	assert_true(magazine_grow(heap, class_index));
	size_t used = meta_used_bytes();
	for (size_t i = 0; i < 7; i++)
		*++magazine->top = (struct entry){ &blocks[i], NULL };
	for (size_t i = 0; i < 5; i++) {
		assert_true(magazine_grow(heap, class_index));
		assert_int_equal(magazine_count(heap, class_index), 7);
		for (size_t at = 0; at < 7; at++)
			assert_ptr_equal(heap->bins[class_index].entries[1 + at].block, &blocks[at]);
		check_bounds(class_index);
	}
	/* 7 + 1 entries in 128 bytes, 127 + 1 in 2,048: the smaller pieces went back. */
	assert_int_equal(meta_used_bytes() - used, 2048 - 128);
	magazine->top = heap->bins[class_index].entries;
}

static void test_forget(void **state UNUSED)
{
	unsigned class_index = CLASS_OF_96;

	magazine_forget(heap, class_index);
	assert_int_equal(magazine_count(heap, class_index), 0);
	assert_null(heap->magazines[class_index].top->block);
	assert_ptr_equal(heap->magazines[class_index].top, heap->magazines[class_index].limit);
	assert_true(heap_is_valid(heap));
	assert_true(magazine_grow(heap, class_index));
	check_bounds(class_index);
}

static int setup(void **state UNUSED)
{
	heap = pool_take();
	return heap == NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_by_doubling),
		cmocka_unit_test(test_halves_when_nothing_is_taken),
		cmocka_unit_test(test_contents_move_along),
		cmocka_unit_test(test_forget),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

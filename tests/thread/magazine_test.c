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

/* The first refill after a drop changes nothing: demand swings that far. */
static void test_stays_after_a_drop(void **state UNUSED)
{
	unsigned class_index = CLASS_OF_64;
	struct bin *bin = &heap->bins[class_index];

	bin->allowed = 31;
	bin->dropped = true;
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, 31);
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, 63);
	check_bounds(class_index);
}

/* Closed, it is empty and full at once; the next refill opens it as it was. */
static void test_closed_until_grown(void **state UNUSED)
{
	unsigned class_index = CLASS_OF_64;
	struct bin *bin = &heap->bins[class_index];
	struct magazine *magazine = &heap->magazines[class_index];
	uint16_t allowed = bin->allowed;

	magazine_close(heap, class_index);
	assert_ptr_equal(magazine->top, magazine->limit);
	assert_int_equal(magazine_count(heap, class_index), 0);
	assert_true(heap_is_valid(heap));
	bin->dropped = true;
	assert_true(magazine_grow(heap, class_index));
	assert_int_equal(bin->allowed, allowed);
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
		cmocka_unit_test(test_stays_after_a_drop),
		cmocka_unit_test(test_closed_until_grown),
		cmocka_unit_test(test_contents_move_along),
		cmocka_unit_test(test_forget),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

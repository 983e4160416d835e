/* Size classes: every size, every alignment, and for each class every offset of a slab under every colour. */
#include "model/support.h"

#include "block/sizeclass.h"
#include "space/space.h"

static void test_every_size(void **state UNUSED)
{
	for (size_t size = 1; size <= SMALL_BYTES_MAX; size++) {
		unsigned smallest = 0;

		while (smallest < CLASS_FIRST_ALIGNED && size_classes[smallest].size < size)
			smallest++;
		assert_true(smallest < CLASS_FIRST_ALIGNED);
		assert_int_equal(size_class_of(size), smallest);
		/* The promise of sizeclass.def: a quarter of a block is rounding up to 1 KiB, 13 % above; below 16 all of it. */
		size_t waste = size_classes[smallest].size - size;
		if (size > 128)
			assert_true(waste * 100 <= size_classes[smallest].size * (size <= 1024 ? 25u : 13u));
	}
	assert_int_equal(size_classes[CLASS_FIRST_ALIGNED - 1].size, SMALL_BYTES_MAX);
}

static void test_tables(void **state UNUSED)
{
	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		const struct size_class *class = &size_classes[i];
		size_t slab_bytes = class->units * UNIT_BYTES;

		assert_int_equal(class->size % GRANULE_BYTES, 0);
		assert_true(i == 0 || i == CLASS_FIRST_ALIGNED || class->size > size_classes[i - 1].size);
		assert_true((unsigned __int128)class->multiplier * class->size >= (unsigned __int128)1 << 64);
		assert_true((unsigned __int128)(class->multiplier - 1) * class->size < (unsigned __int128)1 << 64);
		assert_int_equal(class->ledger_bytes % 8, 0);
		/* One index for the byte after the last block, one below that the colour covers. */
		assert_true(class->ledger_bytes > slab_bytes / class->size + 2);
		assert_true(slab_bytes / class->size >= 15);
		assert_in_range(class->magazine_max, 3, 127);
		assert_true(is_power_of_two(class->magazine_max + 1u));
		assert_true(class->colour_lines < 64);
		assert_true(i < CLASS_FIRST_ALIGNED || class->colour_lines == 0);
		assert_true(slab_bytes / class->size <= UINT16_MAX);
	}
}

/* The product against division: index and start of each byte of a slab, and of the block before its first. */
static void test_every_offset(void **state UNUSED)
{
	size_t step = slowdown() == 1 ? 1 : 2 * slowdown() + 1;

	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		const struct size_class *class = &size_classes[i];
		uint64_t multiplier = class->multiplier;
		size_t size = class->size;
		size_t wrong = 0;

		for (size_t lines = 0; lines <= class->colour_lines; lines++) {
			/* Index 0 stands so that an index is a block's first byte on the colour: slab.c. */
			size_t colour = lines * CACHE_LINE_BYTES;
			size_t before = (colour + size - 1) / size * size - colour;
			size_t end = before + class->units * UNIT_BYTES;
			size_t expected = before / size;
			size_t within = before % size;

			for (size_t offset = before; offset < end; offset += step) {
				bool is_start;
				wrong += block_index(offset, multiplier, &is_start) != expected;
				wrong += is_start != (within == 0);
				for (within += step; within >= size; within -= size)
					expected++;
			}
		}
		assert_int_equal(wrong, 0);
	}
}

/* Multiplier 0: nothing starts anywhere. 1: at 0 alone. */
static void test_special_multipliers(void **state UNUSED)
{
	static const uint64_t offsets[] = { 0, 1, 15, 16, 65535, 65536, (uint64_t)1 << 47, UINT64_MAX };
	bool is_start = true;

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		block_index(offsets[i], 0, &is_start);
		assert_false(is_start);
		assert_int_equal(block_index(offsets[i], 1, &is_start), 0);
		assert_int_equal(is_start, offsets[i] == 0);
	}
}

/* An alignment is kept by a class if its blocks' distance and the first block's place, under any colour, are multiples
 * of it: up to a line by every slab, above by slabs without a colour. */
static bool keeps(const struct size_class *class, size_t alignment)
{
	return class->size % alignment == 0 && (alignment <= CACHE_LINE_BYTES || class->colour_lines == 0);
}

static void check_aligned(size_t size, size_t alignment)
{
	unsigned found = size_class_aligned(size, alignment);
	size_t least = SIZE_MAX;

	for (unsigned i = 0; i < CLASS_COUNT; i++)
		if (size_classes[i].size >= size && keeps(&size_classes[i], alignment))
			least = min_size(least, size_classes[i].size);
	if (found == CLASS_COUNT) {
		/* No class of the kind that it looks at. */
		assert_true(least == SIZE_MAX || (alignment <= CACHE_LINE_BYTES && size > SMALL_BYTES_MAX / 2) ||
		            size > ALIGNED_BYTES_MAX || alignment > ALIGNED_BYTES_MAX);
		return;
	}
	assert_true(size_classes[found].size >= size);
	assert_true(keeps(&size_classes[found], alignment));
	if (alignment > CACHE_LINE_BYTES)
		assert_int_equal(size_classes[found].size, power_of_two_ceil(max_size(size, alignment)));
}

static void test_aligned(void **state UNUSED)
{
	for (size_t alignment = 1; alignment != 0; alignment *= 2) {
		for (size_t size = 0; size <= SMALL_BYTES_MAX + 100; size += slowdown())
			check_aligned(size, alignment);
		for (size_t size = SMALL_BYTES_MAX; size != 0; size *= 2)
			assert_int_equal(size_class_aligned(size + 1, alignment), CLASS_COUNT);
		assert_int_equal(size_class_aligned(SIZE_MAX, alignment), CLASS_COUNT);
		assert_int_equal(size_class_aligned(SIZE_MAX - alignment + 1, alignment), CLASS_COUNT);
	}
	/* What must not take a large block. */
	for (size_t alignment = 16; alignment <= ALIGNED_BYTES_MAX; alignment *= 2)
		for (size_t size = 0; size <= ALIGNED_BYTES_MAX; size += 7)
			assert_int_not_equal(size_class_aligned(size, alignment), CLASS_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_size),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_every_offset),
		cmocka_unit_test(test_special_multipliers),
		cmocka_unit_test(test_aligned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

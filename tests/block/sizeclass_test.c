/* Size classes: every size, every alignment, and for each class every offset of a slab, whatever its colour. */
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

/* The product against division: index and start of every offset that there is in a slab. Its colour, or a guard in front, only
 * moves its first byte's, within the block before the first: that all of them are asked is what makes this complete. */
static void test_every_offset(void **state UNUSED)
{
	size_t step = slowdown() == 1 ? 1 : 2 * slowdown() + 1;

	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		const struct size_class *class = &size_classes[i];
		uint64_t multiplier = class->multiplier;
		size_t size = class->size;
		size_t end = class->units * UNIT_BYTES + size;
		size_t expected = 0;
		size_t within = 0;
		size_t wrong = 0;

		for (size_t offset = 0; offset < end; offset += step) {
			bool is_start;
			wrong += block_index(offset, multiplier, &is_start) != expected;
			wrong += is_start != (within == 0);
			for (within += step; within >= size; within -= size)
				expected++;
		}
		assert_int_equal(wrong, 0);
	}
}

/* From an index to its block's address, and back; the bytes around it are no starts. The base at either end of what an address
 * may be: a stray pointer's offset is any number. */
static void test_every_index(void **state UNUSED)
{
	static const uintptr_t bases[] = { 0, UNIT_BYTES - 16, (uintptr_t)1 << 46, ((uintptr_t)1 << 47) - 4 * MIB };

	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		const struct size_class *class = &size_classes[i];
		size_t wrong = 0;

		for (size_t j = 0; j < sizeof(bases) / sizeof(bases[0]); j++)
			for (size_t index = 0; index < class->ledger_bytes; index++) {
				uintptr_t address = bases[j] + index * class->size;
				bool is_start;
				wrong += block_index(address - bases[j], class->multiplier, &is_start) != index || !is_start;
				wrong += block_index(address + 1 - bases[j], class->multiplier, &is_start) != index || is_start;
				wrong += block_index(address + class->size - 1 - bases[j], class->multiplier, &is_start) != index || is_start;
			}
		assert_int_equal(wrong, 0);
	}
}

/* Addresses that are in no slab of this class, which a mistaken free may ask about while a descriptor changes: what the product
 * calls a start is one, or its index is no slab's. */
static void test_far_offsets(void **state UNUSED)
{
	for (unsigned i = 0; i < CLASS_COUNT; i++) {
		const struct size_class *class = &size_classes[i];
		size_t near = class->units * UNIT_BYTES + class->size;
		size_t wrong = 0;

		for (uint64_t far = near; far < (uint64_t)1 << 63; far += far / 2 + 1)
			for (uint64_t offset = far; offset < far + 64; offset++)
				for (int below = 0; below < 2; below++) {
					bool is_start;
					size_t index = block_index(below ? 0 - offset : offset, class->multiplier, &is_start);
					wrong += index < class->ledger_bytes && index < near / class->size;
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
		cmocka_unit_test(test_every_index),
		cmocka_unit_test(test_far_offsets),
		cmocka_unit_test(test_special_multipliers),
		cmocka_unit_test(test_aligned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

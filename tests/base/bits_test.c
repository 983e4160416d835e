/* Arithmetic on sizes: every function against its definition, at and around all powers of two. */
#include "model/support.h"

/* Each power of two and its neighbours. */
#define FOR_EACH_EDGE(value) \
	for (unsigned bit_ = 0; bit_ < 64; bit_++) \
		for (size_t value = ((size_t)1 << bit_) - 1, last_ = value + 2; value != last_ + 1; value++)

static unsigned bits_in(size_t value)
{
	unsigned count = 0;

	for (; value != 0; value >>= 1)
		count += value & 1;
	return count;
}

static void test_is_power_of_two(void **state UNUSED)
{
	FOR_EACH_EDGE(value)
		assert_int_equal(is_power_of_two(value), bits_in(value) == 1);
}

static void test_log2_floor(void **state UNUSED)
{
	FOR_EACH_EDGE(value) {
		if (value == 0)
			continue;
		unsigned log2 = log2_floor(value);
		assert_true(log2 < 64 && (size_t)1 << log2 <= value);
		assert_true(log2 == 63 || value < (size_t)1 << (log2 + 1));
	}
}

static void test_power_of_two_ceil(void **state UNUSED)
{
	assert_int_equal(power_of_two_ceil(0), 1);
	FOR_EACH_EDGE(value) {
		if (value == 0 || value > (size_t)1 << 63)
			continue;
		size_t result = power_of_two_ceil(value);
		assert_int_equal(bits_in(result), 1);
		assert_true(result >= value);
		assert_true(result / 2 < value);
	}
}

static void test_low_bit(void **state UNUSED)
{
	FOR_EACH_EDGE(value) {
		if (value == 0)
			continue;
		size_t bit = low_bit(value);
		assert_int_equal(bits_in(bit), 1);
		assert_true((value & bit) != 0);
		assert_true((value & (bit - 1)) == 0);
	}
}

static void test_rounding(void **state UNUSED)
{
	for (size_t alignment = 1; alignment <= 4096; alignment *= 2)
		for (size_t value = 0; value <= 3 * 4096; value++) {
			assert_int_equal(ROUND_DOWN(value, alignment), value / alignment * alignment);
			assert_int_equal(ROUND_UP(value, alignment), (value + alignment - 1) / alignment * alignment);
			assert_int_equal(IS_ALIGNED(value, alignment), value % alignment == 0);
		}
	/* The type of the value decides, not the one of the alignment: no high half is lost. */
	assert_true(ROUND_DOWN((uint64_t)0x1234567890abcdef, 16u) == 0x1234567890abcde0u);
	assert_true(ROUND_UP((uint64_t)0x1234567890abcdef, 65536) == 0x1234567890ac0000u);
	assert_true(ROUND_DOWN(UINT64_MAX, (size_t)1 << 63) == (uint64_t)1 << 63);
}

static void test_min_and_max(void **state UNUSED)
{
	assert_int_equal(min_size(1, SIZE_MAX), 1);
	assert_int_equal(min_size(SIZE_MAX, 1), 1);
	assert_int_equal(max_size(1, SIZE_MAX), SIZE_MAX);
	assert_int_equal(max_size(SIZE_MAX, 1), SIZE_MAX);
	assert_int_equal(min_size(7, 7), 7);
	assert_int_equal(max_size(7, 7), 7);
}

static void test_multiply_checked(void **state UNUSED)
{
	FOR_EACH_EDGE(a) {
		size_t limit = a == 0 ? SIZE_MAX : SIZE_MAX / a;
		size_t product = 1;

		assert_true(multiply_checked(a, limit, &product));
		assert_int_equal(product, a * limit);
		assert_true(multiply_checked(limit, a, &product));
		assert_true(multiply_checked(a, 0, &product));
		assert_int_equal(product, 0);
		if (limit != SIZE_MAX) {
			assert_false(multiply_checked(a, limit + 1, &product));
			assert_false(multiply_checked(SIZE_MAX, a, &product));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_power_of_two),
		cmocka_unit_test(test_log2_floor),
		cmocka_unit_test(test_power_of_two_ceil),
		cmocka_unit_test(test_low_bit),
		cmocka_unit_test(test_rounding),
		cmocka_unit_test(test_min_and_max),
		cmocka_unit_test(test_multiply_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

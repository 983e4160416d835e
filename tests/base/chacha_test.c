/* Random numbers: those of the published cipher, within bounds, another stream for another key, nonce or turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/chacha.h"

static const uint32_t zero_key[CHACHA_KEY_WORDS];

/* The first block for a key, nonce and counter of zeros (ChaCha8 with 256 bits of key, J. Strombergson's vectors). */
static void test_published(void **state UNUSED)
{
	static const uint8_t expected[] = { 0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1,
		                            0x2c, 0x84, 0x0e, 0xc3, 0xce, 0x9a, 0x7f, 0x3b, 0x18, 0x1b, 0xe1, 0x88, 0xef, 0x71, 0x1a, 0x1e };
	struct chacha random;

	chacha_start(&random, zero_key, 0);
	chacha_more(&random);
	assert_memory_equal(random.bytes, expected, sizeof(expected));
}

static void test_below(void **state UNUSED)
{
	struct chacha random;
	unsigned seen[7] = { 0 };

	chacha_start(&random, zero_key, 3);
	for (int i = 0; i < 70000; i++) {
		size_t number = chacha_below(&random, 7);
		assert_in_range(number, 0, 6);
		seen[number]++;
	}
	/* Ten standard deviations. */
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9000, 11000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(chacha_below(&random, 1), 0);
}

static void test_streams(void **state UNUSED)
{
	static const uint32_t other_key[CHACHA_KEY_WORDS] = { 1 };
	struct chacha first, same, other, turned;

	chacha_start(&first, zero_key, 5);
	chacha_start(&same, zero_key, 5);
	chacha_start(&other, other_key, 5);
	chacha_start(&turned, zero_key, 5);
	assert_int_equal(chacha_64(&first), chacha_64(&same));
	assert_int_equal(chacha_64(&first), chacha_64(&same));
	/* Both begin a block. */
	chacha_64(&turned);
	chacha_turn(&turned, 9);
	same.left = 0;
	assert_int_not_equal(chacha_64(&same), chacha_64(&turned));
	chacha_64(&first);
	chacha_64(&other);
	assert_int_not_equal(chacha_64(&first), chacha_64(&other));
}

/* Blocks follow each other: the same number does not come again soon. */
static void test_goes_on(void **state UNUSED)
{
	struct chacha random;
	uint64_t before = 0;

	chacha_start(&random, zero_key, 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t number = chacha_64(&random);
		assert_int_not_equal(number, before);
		before = number;
	}
	assert_int_equal(random.counter, 125);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_below),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

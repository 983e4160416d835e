/* Text without stdio: every replacement, and that no capacity is ever exceeded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/text.h"

static char buffer[256];

static struct text fresh(void)
{
	memset(buffer, '#', sizeof(buffer));
	return text_over(buffer, sizeof(buffer));
}

static void test_starts_empty(void **state UNUSED)
{
	struct text text = fresh();

	assert_string_equal(buffer, "");
	assert_int_equal(text.length, 0);
	assert_int_equal(text_stored(&text), 0);
}

static void test_appends(void **state UNUSED)
{
	struct text text = fresh();

	text_char(&text, 'a');
	text_string(&text, "bc");
	text_string(&text, "");
	text_bytes(&text, "de\0f", 4);
	assert_memory_equal(buffer, "abcde\0f", 8);
	assert_int_equal(text.length, 7);
	assert_int_equal(text_stored(&text), 7);
}

static void test_numbers(void **state UNUSED)
{
	static const uint64_t values[] = { 0, 1, 9, 10, 15, 16, 255, 256, 99999, UINT32_MAX, (uint64_t)1 << 63,
		                           UINT64_MAX - 1, UINT64_MAX };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char expected[64];
		struct text text = fresh();

		text_decimal(&text, values[i]);
		text_char(&text, ' ');
		text_hex(&text, values[i]);
		snprintf(expected, sizeof(expected), "%ju 0x%jx", (uintmax_t)values[i], (uintmax_t)values[i]);
		assert_string_equal(buffer, expected);
	}
}

static void test_sizes(void **state UNUSED)
{
	static const struct {
		uint64_t bytes;
		const char *expected;
	} cases[] = {
		{ 0, "0 bytes" },
		{ 1, "1 byte" },
		{ 1023, "1023 bytes" },
		{ KIB, "1024 bytes (1 KiB)" },
		{ KIB + 511, "1535 bytes (1.4 KiB)" },
		{ KIB + 512, "1536 bytes (1.5 KiB)" },
		{ 40 * KIB, "40960 bytes (40 KiB)" },
		{ MIB - 1, "1048575 bytes (1023.9 KiB)" },
		{ MIB, "1048576 bytes (1 MiB)" },
		{ 3 * GIB, "3221225472 bytes (3 GiB)" },
		{ 1024 * GIB, "1099511627776 bytes (1 TiB)" },
		{ UINT64_MAX, "18446744073709551615 bytes (16777215.9 TiB)" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct text text = fresh();

		text_size(&text, cases[i].bytes);
		assert_string_equal(buffer, cases[i].expected);
	}
}

static void test_format(void **state UNUSED)
{
	struct text text = fresh();

	text_format(&text, "%s|%u|%x|%p|%z|%%|%s", "a", UINT64_MAX, (uint64_t)0xABC, (void *)0x10, (uint64_t)KIB, "");
	assert_string_equal(buffer, "a|18446744073709551615|0xabc|0x10|1024 bytes (1 KiB)|%|");
	text = fresh();
	text_format(&text, "nothing");
	assert_string_equal(buffer, "nothing");
	text = fresh();
	text_format(&text, "lonely %");
	assert_string_equal(buffer, "lonely %");
	text = fresh();
	text_format(&text, "p=%p", NULL);
	assert_string_equal(buffer, "p=0x0");
}

/* Every capacity from 0 up: what fits is there and terminated, nothing beyond is touched, the length is the whole. */
static void test_every_capacity(void **state UNUSED)
{
	static const char whole[] = "key=12345 0xff, 1024 bytes (1 KiB)";

	for (size_t capacity = 0; capacity <= sizeof(whole) + 2; capacity++) {
		memset(buffer, '#', sizeof(buffer));
		struct text text = text_over(buffer, capacity);

		text_format(&text, "key=%u %x, %z", (uint64_t)12345, (uint64_t)255, (uint64_t)KIB);
		assert_int_equal(text.length, sizeof(whole) - 1);
		size_t stored = capacity == 0 ? 0 : min_size(capacity - 1, sizeof(whole) - 1);
		assert_int_equal(text_stored(&text), stored);
		assert_memory_equal(buffer, whole, stored);
		if (capacity > 0)
			assert_int_equal(buffer[stored], 0);
		for (size_t i = capacity == 0 ? 0 : stored + 1; i < sizeof(buffer); i++)
			assert_int_equal(buffer[i], '#');
	}
}

static void test_write_error(void **state UNUSED)
{
	char read_back[64] = "";
	int ends[2];
	struct text text = text_over(buffer, 6);

	text_string(&text, "whole and more");
	assert_int_equal(pipe(ends), 0);
	int saved = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	text_write_error(&text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(ends[1]);
	assert_int_equal(read(ends[0], read_back, sizeof(read_back) - 1), 5);
	assert_string_equal(read_back, "whole");
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_starts_empty),
		cmocka_unit_test(test_appends),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_every_capacity),
		cmocka_unit_test(test_write_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

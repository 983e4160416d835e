/* The account of sampled blocks: what stays keeps nobody out, and the whole is never exceeded. */
#include "model/support.h"

#include "guard/account.h"
#include "guard/stack.h"

#define PAGES ((size_t)1024)
#define STACKS ((size_t)5000)

static uint32_t stacks[STACKS];

static int make_stacks(void **state UNUSED)
{
	if (!stack_configure(16, MIB, false))
		return 1;
	for (size_t i = 0; i < STACKS; i++) {
		uintptr_t frames[2] = { 0x1000 + i * 64, 0x2000 };
		stacks[i] = stack_keep(i * 0x9e3779b97f4a7c15u, frames, 2);
		if (stacks[i] == 0)
			return 1;
	}
	account_configure(PAGES);
	return 0;
}

static size_t fill(uint32_t stack, size_t pages)
{
	size_t taken = 0;

	while (account_take(stack, pages))
		taken += pages;
	return taken;
}

/* The first gets half; a place that has nothing gets something, however many hold what they could get. */
static void test_places(void **state UNUSED)
{
	size_t first = fill(stacks[0], 1);
	size_t taken = 0, refused = 0;
	static size_t of[STACKS];

	assert_int_equal(first, PAGES / 2);
	assert_false(account_take(stacks[0], 1));
	for (size_t i = 1; i < 100; i++)
		taken += of[i] = fill(stacks[i], 1);
	/* Two may be one place. */
	assert_in_range(taken, 140, 198);
	for (size_t i = 100; i < STACKS; i++) {
		taken += of[i] = fill(stacks[i], 1);
		refused += of[i] == 0;
		assert_true(of[i] <= 2);
		assert_true(account_figures().pages <= PAGES);
	}
	assert_true(refused > 0);
	assert_int_equal(account_figures().pages, first + taken);
	/* Whatever is given back can be had again, by who gave it. */
	for (size_t i = 1; i < STACKS; i++) {
		if (of[i] == 0)
			continue;
		account_give(stacks[i], 1);
		assert_true(account_take(stacks[i], 1));
	}
	for (size_t i = 1; i < STACKS; i++)
		while (of[i]-- > 0 && of[i] != SIZE_MAX)
			account_give(stacks[i], 1);
	for (size_t i = 0; i < first; i++)
		account_give(stacks[0], 1);
	assert_int_equal(account_figures().pages, 0);
}

/* No single block takes more than a sixteenth, and above the half none of more than two pages is taken. */
static void test_large_blocks(void **state UNUSED)
{
	size_t passed_over = account_figures().passed_over;

	assert_false(account_take(stacks[0], PAGES / 16 + 1));
	assert_int_equal(account_figures().passed_over, passed_over + 1);
	assert_int_equal(fill(stacks[0], PAGES / 16), PAGES / 2);
	assert_false(account_take(stacks[1], 3));
	assert_true(account_take(stacks[1], 2));
	account_give(stacks[1], 2);
	for (size_t i = 0; i < 8; i++)
		account_give(stacks[0], PAGES / 16);
	assert_int_equal(account_figures().pages, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_places), cmocka_unit_test(test_large_blocks) };

	return cmocka_run_group_tests(tests, make_stacks, NULL);
}

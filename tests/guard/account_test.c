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

/* Pages that a stack has taken, by place. */
static size_t taken_of[STACKS][2];

static bool take(size_t stack, size_t pages)
{
	bool second;

	if (!account_take(stacks[stack], pages, &second))
		return false;
	taken_of[stack][second] += pages;
	return true;
}

static void give(size_t stack, size_t pages)
{
	bool second = taken_of[stack][0] < pages;

	assert_true(taken_of[stack][second] >= pages);
	taken_of[stack][second] -= pages;
	account_give(stacks[stack], pages, second);
}

static size_t pages_of(size_t stack)
{
	return taken_of[stack][0] + taken_of[stack][1];
}

static size_t fill(size_t stack, size_t pages)
{
	while (take(stack, pages))
		;
	return pages_of(stack);
}

/* The first gets half; a place that has nothing gets something, however many hold what they could get. */
static void test_places(void **state UNUSED)
{
	size_t first = fill(0, 1);
	size_t taken = 0, refused = 0;

	assert_int_equal(first, PAGES / 2);
	assert_false(take(0, 1));
	for (size_t i = 1; i < 40; i++) {
		taken += fill(i, 1);
		/* Two may share a place, but not both. */
		assert_true(pages_of(i) >= 1);
	}
	for (size_t i = 40; i < STACKS; i++) {
		taken += fill(i, 1);
		refused += pages_of(i) == 0;
		assert_true(pages_of(i) <= 4);
		assert_true(account_figures().pages <= PAGES);
	}
	assert_true(refused > 0);
	assert_int_equal(account_figures().pages, first + taken);
	/* Whatever is given back can be had again, by who gave it. */
	for (size_t i = 1; i < STACKS; i++) {
		if (pages_of(i) == 0)
			continue;
		give(i, 1);
		assert_true(take(i, 1));
	}
	for (size_t i = 0; i < STACKS; i++)
		while (pages_of(i) > 0)
			give(i, 1);
	assert_int_equal(account_figures().pages, 0);
}

/* However many places are full, one whose blocks don't stay is hardly ever left without any. */
static void test_crowd(void **state UNUSED)
{
	size_t without = 0;

	fill(0, 1);
	for (size_t i = 1; i <= 25; i++)
		fill(i, 1);
	for (size_t i = 26; i < STACKS; i++) {
		if (take(i, 1))
			give(i, 1);
		else
			without++;
	}
	/* A fifth of the places is full: one stack of 25 has both among them; with a single place it would be one of five. */
	assert_in_range(without, 1, (STACKS - 26) / 12);
	for (size_t i = 0; i <= 25; i++)
		while (pages_of(i) > 0)
			give(i, 1);
	assert_int_equal(account_figures().pages, 0);
}

/* No single block takes more than a sixteenth, and above the half none of more than two pages is taken. */
static void test_large_blocks(void **state UNUSED)
{
	size_t passed_over = account_figures().passed_over;

	assert_false(take(0, PAGES / 16 + 1));
	assert_int_equal(account_figures().passed_over, passed_over + 1);
	assert_int_equal(fill(0, PAGES / 16), PAGES / 2);
	assert_false(take(1, 3));
	assert_true(take(1, 2));
	give(1, 2);
	for (size_t i = 0; i < 8; i++)
		give(0, PAGES / 16);
	assert_int_equal(account_figures().pages, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_places), cmocka_unit_test(test_crowd), cmocka_unit_test(test_large_blocks) };

	return cmocka_run_group_tests(tests, make_stacks, NULL);
}

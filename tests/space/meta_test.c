/* Quarry's own memory: zero, aligned, never twice, guarded, recycled by size. */
#include "model/support.h"

#include <sys/mman.h>

#include "os/os.h"
#include "space/meta.h"
#include "space/space.h"

#define PIECE_COUNT ((size_t)3000)

struct piece {
	unsigned char *memory;
	size_t bytes;
};

static struct piece pieces[PIECE_COUNT];

static void *take(size_t bytes)
{
	lock_take(&space_lock);
	void *memory = meta_alloc(bytes);
	lock_release(&space_lock);
	assert_non_null(memory);
	return memory;
}

static void *take_recycled(size_t bytes)
{
	lock_take(&space_lock);
	void *memory = meta_alloc_recycled(bytes);
	lock_release(&space_lock);
	return memory;
}

static void give(void *memory, size_t bytes)
{
	lock_take(&space_lock);
	meta_free_recycled(memory, bytes);
	lock_release(&space_lock);
}

static bool is_mapped(uintptr_t address)
{
	unsigned char state;

	return mincore((void *)ROUND_DOWN(address, os_page_bytes()), 1, &state) == 0;
}

static void write_there(void *address)
{
	*(volatile char *)address = 1;
}

/* Sizes from a byte to more than an arena of its own: each piece keeps its contents. */
static void test_pieces(void **state UNUSED)
{
	struct random random = random_start(1);
	size_t used = meta_used_bytes();

	for (size_t i = 0; i < PIECE_COUNT; i++) {
		size_t bytes = 1 + random_below(&random, i % 500 == 499 ? 3 * MIB : i % 10 == 0 ? 20000 : 700);
		pieces[i] = (struct piece){ take(bytes), bytes };
		used += ROUND_UP(bytes, CACHE_LINE_BYTES);
		assert_int_equal(meta_used_bytes(), used);
		assert_true(IS_ALIGNED((uintptr_t)pieces[i].memory, CACHE_LINE_BYTES));
		assert_true(meta_owns(pieces[i].memory));
		assert_true(meta_owns(pieces[i].memory + bytes - 1));
		for (size_t at = 0; at < bytes; at++)
			if (pieces[i].memory[at] != 0)
				fail_msg("piece %zu is not zero", i);
		memset(pieces[i].memory, (int)(i % 255 + 1), bytes);
	}
	for (size_t i = 0; i < PIECE_COUNT; i++)
		for (size_t at = 0; at < pieces[i].bytes; at++)
			if (pieces[i].memory[at] != i % 255 + 1)
				fail_msg("piece %zu was overwritten", i);
}

static void test_owns_nothing_else(void **state UNUSED)
{
	int here = 0;

	assert_false(meta_owns(&here));
	assert_false(meta_owns(NULL));
	assert_false(meta_owns((void *)UINTPTR_MAX));
	assert_false(meta_owns(test_owns_nothing_else));
}

/* An arena ends in pages that can't be touched. */
static void test_guards(void **state UNUSED)
{
	SKIP_EMULATED("mappings are not the kernel's");
	size_t page = os_page_bytes();
	unsigned char *piece = take(2 * MIB);
	uintptr_t low = ROUND_DOWN((uintptr_t)piece, page);
	uintptr_t high = ROUND_UP((uintptr_t)piece + 2 * MIB, page);
	char said[4096];

	while (meta_owns((void *)(low - page)))
		low -= page;
	while (meta_owns((void *)high))
		high += page;
	assert_true(is_mapped(low - page) && is_mapped(high));
	assert_true(child_run(write_there, (void *)(low - 1), said, sizeof(said)) != 0);
	assert_true(child_run(write_there, (void *)high, said, sizeof(said)) != 0);
	ASSERT_EXITED(child_run(write_there, piece, NULL, 0));
}

static void test_recycling(void **state UNUSED)
{
	size_t used = meta_used_bytes();
	void *first = take_recycled(1000);
	void *second = take_recycled(1024);

	assert_non_null(first);
	assert_non_null(second);
	assert_ptr_not_equal(first, second);
	assert_int_equal(meta_used_bytes(), used + 2048);
	memset(first, 0xff, 1024);
	memset(second, 0xff, 1024);
	give(first, 1000);
	assert_int_equal(meta_used_bytes(), used + 1024);
	/* What doesn't have its size does not get it. */
	void *larger = take_recycled(1025);
	void *smaller = take_recycled(512);
	assert_ptr_not_equal(larger, first);
	assert_ptr_not_equal(smaller, first);
	assert_ptr_equal(take_recycled(513), first);
	give(second, 1024);
	give(first, 513);
	assert_ptr_equal(take_recycled(1024), first);
	assert_ptr_equal(take_recycled(1024), second);
	/* The smallest are a line. */
	void *tiny = take_recycled(1);
	assert_int_equal(meta_used_bytes(), used + 2048 + 2048 + 512 + 64);
	memset(tiny, 1, 64);
	give(tiny, 64);
	assert_ptr_equal(take_recycled(2), tiny);
	lock_take(&space_lock);
	assert_null(meta_alloc_recycled(2 * MIB));
	lock_release(&space_lock);
}

/* Random sizes, taken and given: no two pieces overlap. */
static void test_recycling_at_random(void **state UNUSED)
{
	struct random random = random_start(2);
	struct piece held[64] = { 0 };

	for (size_t i = 0; i < rounds(100000, 2000); i++) {
		struct piece *piece = &held[random_below(&random, 64)];
		unsigned char mark = (unsigned char)(piece - held + 1);

		if (piece->memory != NULL) {
			for (size_t at = 0; at < piece->bytes; at++)
				assert_int_equal(piece->memory[at], mark);
			give(piece->memory, piece->bytes);
			piece->memory = NULL;
		} else {
			piece->bytes = 1 + random_below(&random, 600);
			piece->memory = take_recycled(piece->bytes);
			assert_non_null(piece->memory);
			memset(piece->memory, mark, piece->bytes);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_owns_nothing_else),
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_recycling),
		cmocka_unit_test(test_recycling_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

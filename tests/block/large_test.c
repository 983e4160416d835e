/* Large blocks: made, zeroed, resized, moved, given back. */
#include "model/support.h"

#include "block/large.h"
#include "block/lookup.h"
#include "os/os.h"
#include "space/purge.h"
#include "space/span.h"

static size_t page;

static struct span *span_at(const void *block)
{
	struct span *span;
	ledger_byte *state;

	assert_true(live_block(block, &span, &state));
	assert_ptr_equal(state, &span->large_state);
	assert_int_equal(span->kind, SPAN_LARGE);
	assert_int_equal(span->base, (uintptr_t)block);
	return span;
}

static void *make(size_t bytes, size_t alignment, bool zeroed)
{
	void *block = large_make(bytes, alignment, zeroed);

	assert_non_null(block);
	struct span *span = span_at(block);
	assert_true(IS_ALIGNED((uintptr_t)block, alignment));
	assert_int_equal(span->large_bytes, ROUND_UP(max_size(bytes, 1), page));
	assert_int_equal(span->large_bytes, large_good_size(bytes));
	assert_true(span->base >= span->start && span->base - span->start < UNIT_BYTES);
	assert_true(span->base + span->large_bytes <= span->start + span->units * UNIT_BYTES);
	return block;
}

static void drop(void *block)
{
	struct span *span = span_at(block);

	assert_true(ledger_end_life(&span->large_state, LEDGER_FREE));
	large_release(span);
}

static void assert_spans_valid(void)
{
	lock_take(&space_lock);
	bool valid = span_is_valid();
	lock_release(&space_lock);
	assert_true(valid);
}

static void test_sizes_and_alignments(void **state UNUSED)
{
	static const size_t sizes[] = { 0, 1, 32833, 40000, 65536, 65537, 100000, 131072, 196608, 300000, 1048576, 5000001 };

	for (size_t alignment = 16; alignment <= 4 * MIB; alignment *= 2)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			unsigned char *first = make(sizes[i], alignment, false);
			unsigned char *second = make(sizes[i], alignment, true);
			struct span *span = span_at(first);
			assert_true(second + large_good_size(sizes[i]) <= first || first + span->large_bytes <= second);
			first[0] = second[0] = 1;
			first[span->large_bytes - 1] = second[span->large_bytes - 1] = 2;
			drop(first);
			drop(second);
			assert_spans_valid();
		}
}

static void test_impossible(void **state UNUSED)
{
	assert_null(large_make(PTRDIFF_MAX, 16, false));
	assert_null(large_make((size_t)PTRDIFF_MAX - 2 * UNIT_BYTES, 16, true));
	assert_null(large_make((size_t)1 << 60, 16, false));
	assert_null(large_make(SIZE_MAX, 16, false));
	assert_null(large_make(1, (size_t)1 << 63, false));
	assert_null(large_make(1, (size_t)1 << 62, false));
	assert_null(large_make(1, (size_t)1 << 61, false));
	drop(make(100000, 16, false));
	assert_spans_valid();
}

/* Dirty memory of all kinds of neighbourhoods: what asks for zeros gets zeros, to the last usable byte. */
static void test_zeroed_after_use(void **state UNUSED)
{
	struct random random = random_start(9);
	void *held[8] = { NULL };

	purge_configure(1024 * MIB, 0, UINT64_MAX, 3600000);
	for (size_t i = 0; i < rounds(1200, 60); i++) {
		void **slot = &held[random_below(&random, 8)];
		if (*slot != NULL) {
			drop(*slot);
			*slot = NULL;
			if (random_below(&random, 16) == 0)
				purge_all(random_below(&random, 4 * MIB));
			continue;
		}
		bool zeroed = random_below(&random, 2) == 0;
		size_t bytes = 32833 + random_below(&random, random_below(&random, 8) == 0 ? 5 * MIB : 300000);
		unsigned char *block = *slot = make(bytes, (size_t)16 << random_below(&random, 14), zeroed);
		if (zeroed)
			for (size_t at = 0; at < bytes; at++)
				if (block[at] != 0)
					fail_msg("byte %zu of %zu is %#x", at, bytes, block[at]);
		memset(block, 0xd7, span_at(block)->large_bytes);
	}
	for (size_t i = 0; i < 8; i++)
		if (held[i] != NULL)
			drop(held[i]);
	assert_spans_valid();
}

/* Zeroed, of clean memory: no page is touched. */
static void test_zeroed_is_lazy(void **state UNUSED)
{
	purge_all(0);
	char *block = make(16 * MIB, 16, true);
	struct span *span = span_at(block);
	size_t before = os_resident_bytes((void *)span->start, span->units * UNIT_BYTES);

	/* Clean memory that was read shows the zero page. */
	assert_true(before <= MIB);
	drop(block);
}

/* ---- Resizing ---- */

static void fill(unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 64)
		block[at] = (unsigned char)(at / 64 * 7 + 1);
	block[bytes - 1] = 0x42;
}

static void assert_filled(const unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 64)
		if (block[at] != (unsigned char)(at / 64 * 7 + 1))
			fail_msg("byte %zu of %zu is %#x", at, bytes, block[at]);
}

static void test_in_place(void **state UNUSED)
{
	purge_all(0);
	unsigned char *block = make(10 * UNIT_BYTES, 16, false);
	struct span *span = span_at(block);
	size_t room = ROUND_DOWN(span->start + span->units * UNIT_BYTES - span->base, page);

	fill(block, 10 * UNIT_BYTES);
	/* Up to the end of its last unit: always. */
	assert_true(large_resize_in_place(span, room));
	assert_int_equal(span->large_bytes, room);
	/* Into the free units behind it. */
	unsigned char *behind = make(20 * UNIT_BYTES, 16, false);
	if (behind > block) {
		uintptr_t wall = span_at(behind)->start;
		drop(behind);
		size_t units = span->units;
		assert_true(large_resize_in_place(span, room + 5 * UNIT_BYTES));
		assert_int_equal(span->units, units + 5);
		assert_true(span->start + units * UNIT_BYTES <= wall);
	}
	block[span->large_bytes - 1] = 1;
	assert_filled(block, 10 * UNIT_BYTES - 64);
	/* A little less changes nothing, much less gives units back. */
	size_t bytes = span->large_bytes;
	assert_true(large_resize_in_place(span, bytes - 1));
	assert_int_equal(span->large_bytes, bytes);
	size_t units = span->units;
	assert_true(large_resize_in_place(span, 3 * UNIT_BYTES));
	assert_int_equal(span->large_bytes, 3 * UNIT_BYTES);
	assert_true(span->units < units && span->units <= 4);
	assert_filled(block, 3 * UNIT_BYTES);
	/* What went back is somebody's else. */
	assert_true(span_of((void *)(span->start + span->units * UNIT_BYTES))->kind == SPAN_FREE);
	/* With a block behind it there is no room. */
	unsigned char *wall = make(40000, 16, false);
	while (span_at(wall)->start != span->start + span->units * UNIT_BYTES) {
		/* Fill smaller holes, which best fit prefers; they stay. */
		wall = make(40000, 16, false);
	}
	assert_false(large_resize_in_place(span, span->large_bytes + 2 * UNIT_BYTES));
	assert_false(large_resize_in_place(span, SIZE_MAX));
	assert_false(large_resize_in_place(span, PTRDIFF_MAX));
	assert_int_equal(span->large_bytes, 3 * UNIT_BYTES);
	assert_filled(block, 3 * UNIT_BYTES);
	drop(block);
	assert_spans_valid();
}

static bool can_move;

/* Moved again and again, with in-place growth between, which makes its memory several mappings. */
static void test_move(void **state UNUSED)
{
	if (!can_move) {
		print_message("# skipped: the kernel doesn't move pages (Linux 5.7)\n");
		skip();
	}
	size_t bytes = 5 * UNIT_BYTES;
	unsigned char *block = make(bytes, 16, false);

	fill(block, bytes);
	for (size_t round = 0; round < 12; round++) {
		struct span *span = span_at(block);
		uintptr_t old_start = span->start;
		size_t old_units = span->units;
		size_t old_bytes = bytes;
		uint64_t moved = large_moved_bytes();
		bytes = ROUND_UP(span->start + span->units * UNIT_BYTES - span->base + 1, page) + round * 3 * page;
		assert_true(ledger_end_life(&span->large_state, LEDGER_CACHED));
		unsigned char *target = large_move(span, bytes);
		assert_non_null(target);
		assert_ptr_not_equal(target, block);
		assert_filled(target, old_bytes - 64);
		assert_int_equal(target[old_bytes - 1], 0x42);
		assert_int_equal(span_at(target)->large_bytes, bytes);
		/* All, but for a little that it has grown in place since the last time. */
		moved = large_moved_bytes() - moved;
		assert_in_range(moved, old_units * UNIT_BYTES * 7 / 8, old_units * UNIT_BYTES);
		/* The place it came from is free, and what was moved known to be zero. */
		assert_true(live_block(block, &(struct span *){ NULL }, &(ledger_byte *){ NULL }) == false);
		size_t length;
		lock_take(&space_lock);
		assert_int_equal(span_dirty_run(old_start, old_units, 0, &length), moved / UNIT_BYTES);
		lock_release(&space_lock);
		for (size_t at = 0; at < moved; at += 64)
			assert_int_equal(((unsigned char *)old_start)[at], 0);
		block = target;
		fill(block, bytes);
		size_t more = bytes + 3 * UNIT_BYTES;
		if (large_resize_in_place(span_at(block), more)) {
			assert_filled(block, bytes - 64);
			bytes = more;
			fill(block, bytes);
		}
		assert_spans_valid();
	}
	drop(block);
}

static size_t mapping_count(void)
{
	size_t count = 0;
	FILE *file = fopen("/proc/self/maps", "r");

	assert_non_null(file);
	for (int c; (c = getc(file)) != EOF;)
		count += c == '\n';
	fclose(file);
	return count;
}

/* As realloc does it; whether it was moved. */
static bool grow(unsigned char **block, size_t *bytes, size_t more)
{
	struct span *span = span_at(*block);
	bool moved = false;

	if (!large_resize_in_place(span, *bytes + more)) {
		assert_true(ledger_end_life(&span->large_state, LEDGER_CACHED));
		unsigned char *target = large_move(span, *bytes + more);
		moved = target != NULL;
		if (!moved) {
			ledger_set(&span->large_state, LEDGER_LIVE);
			target = make(*bytes + more, 16, false);
			memcpy(target, *block, *bytes);
			drop(*block);
		}
		*block = target;
	}
	assert_filled(*block, *bytes - 64);
	*bytes += more;
	fill(*block, *bytes);
	return moved;
}

/* Many blocks that grow among each other: some are moved, the largest always; mappings stay few, and go with the blocks. */
static void test_mappings_are_bounded(void **state UNUSED)
{
	enum { BLOCKS = 400 };
	static unsigned char *blocks[BLOCKS];
	static size_t bytes[BLOCKS];
	struct random random = random_start(11);
	size_t before = mapping_count(), most = 0, moved = 0;

	if (!can_move) {
		print_message("# skipped: this kernel or tool does not move pages\n");
		skip();
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		bytes[i] = 5 * UNIT_BYTES;
		blocks[i] = make(bytes[i], 16, false);
		fill(blocks[i], bytes[i]);
	}
	for (size_t n = rounds(3000, 1000); n > 0; n--) {
		size_t i = random_below(&random, BLOCKS);
		moved += grow(&blocks[i], &bytes[i], 1 + random_below(&random, bytes[i] / 2));
		if (bytes[i] > 2 * MIB) {
			drop(blocks[i]);
			bytes[i] = 5 * UNIT_BYTES;
			blocks[i] = make(bytes[i], 16, false);
			fill(blocks[i], bytes[i]);
		}
		if (n % 16 == 0)
			most = max_size(most, mapping_count());
	}
	assert_true(moved > 0);
	/* 32, and 8 for each of the 3 doublings up to 2 MiB; each may split another. */
	assert_in_range(most, before + 8, before + 2 * (32 + 3 * 8));
	unsigned char *large = make(64 * MIB, 16, false);
	size_t large_bytes = 64 * MIB;
	fill(large, large_bytes);
	void *wall = make(40000, 16, false);
	assert_true(grow(&large, &large_bytes, large_bytes));
	drop(wall);
	drop(large);
	for (size_t i = 0; i < BLOCKS; i++)
		drop(blocks[i]);
	assert_in_range(mapping_count(), 0, before + 2);
	assert_spans_valid();
}

static void test_move_fails(void **state UNUSED)
{
	unsigned char *block = make(4 * UNIT_BYTES, 16, false);
	struct span *span = span_at(block);

	fill(block, 4 * UNIT_BYTES);
	static const size_t impossible[] = { (size_t)1 << 60, (size_t)PTRDIFF_MAX - UNIT_BYTES, PTRDIFF_MAX, SIZE_MAX - 4095,
		                             SIZE_MAX };
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		assert_true(ledger_end_life(&span->large_state, LEDGER_CACHED));
		assert_null(large_move(span, impossible[i]));
		ledger_set(&span->large_state, LEDGER_LIVE);
		assert_ptr_equal(span_at(block), span);
		assert_filled(block, 4 * UNIT_BYTES - 64);
	}
	drop(block);
	assert_spans_valid();
}

/* ---- Colours ---- */

static void test_colours(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("colours are lines alone");
	static const size_t sizes[] = { 40000, 5 * UNIT_BYTES, 300000, 1000000 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		void *blocks[64];
		uint64_t lines = 0;
		for (size_t i = 0; i < 64; i++) {
			blocks[i] = make(sizes[s], 16, false);
			lines |= (uint64_t)1 << (uintptr_t)blocks[i] % page / CACHE_LINE_BYTES % 64;
		}
		/* Half of the sets of a first-level cache at least; in the last page's slack where that is all there is. */
		size_t slack = (page - sizes[s] % page) % page / CACHE_LINE_BYTES;
		size_t expected = sizes[s] >= 128 * KIB ? 32 : min_size(slack, 64) / 2;
		assert_true((size_t)__builtin_popcountll(lines) >= expected);
		for (size_t i = 0; i < 64; i++)
			drop(blocks[i]);
	}
}

static int setup(void **state UNUSED)
{
	page = os_page_bytes();
	char *memory = os_reserve(2 * page);
	can_move = os_commit(memory, 2 * page) == 0 && os_move(memory, memory + page, page) == 0 &&
	           os_move(memory + page, memory, page) == 0;
	os_unmap(memory, 2 * page);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes_and_alignments),
		cmocka_unit_test(test_impossible),
		cmocka_unit_test(test_zeroed_after_use),
		cmocka_unit_test(test_zeroed_is_lazy),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_mappings_are_bounded),
		cmocka_unit_test(test_move_fails),
		cmocka_unit_test(test_colours),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

/* Walks see every live block once, in address order, whatever the visitor does; every address is described truly. */
#include "model/support.h"

#include <pthread.h>

#include "base/bits.h"
#include "block/slab.h"
#include "observe/walk.h"
#include "quarry/quarry.h"

#define SEEN_MAX 200000

/* What a walk has seen. */
static struct {
	void *blocks[SEEN_MAX];
	size_t sizes[SEEN_MAX];
	size_t count;
} seen;

static int note(void *block, size_t size, void *context UNUSED)
{
	assert_in_range(seen.count, 0, SEEN_MAX - 1);
	seen.blocks[seen.count] = block;
	seen.sizes[seen.count] = size;
	seen.count++;
	return 0;
}

static void assert_in_order(void)
{
	for (size_t i = 1; i < seen.count; i++)
		assert_true((uintptr_t)seen.blocks[i - 1] + seen.sizes[i - 1] <= (uintptr_t)seen.blocks[i]);
}

static void walk(void)
{
	seen.count = 0;
	assert_int_equal(walk_live(note, NULL), 0);
	assert_in_order();
}

static size_t times_seen(const void *block)
{
	size_t times = 0;

	for (size_t i = 0; i < seen.count; i++)
		times += seen.blocks[i] == block;
	return times;
}

static size_t position_seen(const void *block)
{
	for (size_t i = 0; i < seen.count; i++)
		if (seen.blocks[i] == block)
			return i;
	fail_msg("block %p was not seen", block);
	return 0;
}

/* Ends every test: what it made is gone. */
static int assert_nothing_lives(void **state UNUSED)
{
	walk();
	return seen.count == 0 ? 0 : -1;
}

static void test_empty(void **state UNUSED)
{
	walk();
	assert_int_equal(seen.count, 0);
}

static void test_all_sizes(void **state UNUSED)
{
	enum { COUNT = 3000 };
	static void *blocks[COUNT];
	size_t live = 0;

	for (size_t i = 0; i < COUNT; i++) {
		/* From 1 byte over every class to some hundred KiB. */
		blocks[i] = quarry_malloc(1 + i * i / 40);
		assert_non_null(blocks[i]);
	}
	for (size_t i = 0; i < COUNT; i += 3) {
		quarry_free(blocks[i]);
		blocks[i] = NULL;
	}
	walk();
	for (size_t i = 0; i < COUNT; i++) {
		if (blocks[i] == NULL)
			continue;
		live++;
		assert_int_equal(times_seen(blocks[i]), 1);
		assert_int_equal(seen.sizes[position_seen(blocks[i])], quarry_usable_size(blocks[i]));
		quarry_free(blocks[i]);
	}
	assert_int_equal(seen.count, live);
}

static void test_aligned(void **state UNUSED)
{
	void *small = quarry_aligned_alloc(4096, 4096);
	void *large = quarry_aligned_alloc((size_t)1 << 20, 100000);

	walk();
	assert_int_equal(seen.count, 2);
	assert_int_equal(times_seen(small) + times_seen(large), 2);
	quarry_free(small);
	quarry_free(large);
}

/* More than one batch, one slab and one hold of the lock. */
static void test_many(void **state UNUSED)
{
	enum { COUNT = 150000 };
	static void *blocks[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		blocks[i] = quarry_malloc(16);
	walk();
	assert_int_equal(seen.count, COUNT);
	/* Every 100th only: most of what a step looks at is free. */
	for (size_t i = 0; i < COUNT; i++)
		if (i % 100 != 0)
			quarry_free(blocks[i]);
	walk();
	assert_int_equal(seen.count, COUNT / 100);
	for (size_t i = 0; i < COUNT; i += 100)
		quarry_free(blocks[i]);
}

static int stop_at_third(void *block UNUSED, size_t size UNUSED, void *context)
{
	size_t *visits = context;

	return ++*visits == 3 ? -42 : 0;
}

static void test_stops(void **state UNUSED)
{
	void *blocks[5];
	size_t visits = 0;

	for (size_t i = 0; i < 5; i++)
		blocks[i] = quarry_malloc(100);
	assert_int_equal(walk_live(stop_at_third, &visits), -42);
	assert_int_equal(visits, 3);
	for (size_t i = 0; i < 5; i++)
		quarry_free(blocks[i]);
}

static int free_it(void *block, size_t size, void *context UNUSED)
{
	/* What is reported may be used whole. */
	memset(block, 0xa5, size);
	quarry_free(block);
	return 0;
}

static void test_visitor_frees_its_block(void **state UNUSED)
{
	for (size_t i = 0; i < 2000; i++)
		assert_non_null(quarry_malloc(1 + i * 30));
	assert_int_equal(walk_live(free_it, NULL), 0);
	walk();
	assert_int_equal(seen.count, 0);
}

/* The visitor of a block frees the block behind it in the order; that one must not come. */
static struct {
	void *blocks[1000];
	size_t count;
} order;

static int free_next(void *block, size_t size, void *context)
{
	note(block, size, context);
	for (size_t i = 0; i + 1 < order.count; i++)
		if (order.blocks[i] == block) {
			quarry_free(order.blocks[i + 1]);
			return 0;
		}
	return 0;
}

static void test_visitor_frees_what_follows(void **state UNUSED)
{
	order.count = 1000;
	for (size_t i = 0; i < order.count; i++)
		assert_non_null(quarry_malloc(i % 10 == 0 ? 50000 : 300));
	walk();
	assert_int_equal(seen.count, order.count);
	memcpy(order.blocks, seen.blocks, sizeof(order.blocks));

	seen.count = 0;
	assert_int_equal(walk_live(free_next, NULL), 0);
	assert_int_equal(seen.count, order.count / 2);
	for (size_t i = 0; i < seen.count; i++)
		assert_ptr_equal(seen.blocks[i], order.blocks[2 * i]);
	for (size_t i = 0; i < seen.count; i++)
		quarry_free(seen.blocks[i]);
}

static int allocate_two(void *block, size_t size, void *context)
{
	note(block, size, context);
	assert_non_null(quarry_malloc(100));
	assert_non_null(quarry_malloc(40000));
	return 0;
}

static void test_visitor_allocates(void **state UNUSED)
{
	void *blocks[500];

	for (size_t i = 0; i < 500; i++)
		blocks[i] = quarry_malloc(100);
	seen.count = 0;
	assert_int_equal(walk_live(allocate_two, NULL), 0);
	assert_in_order();
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(times_seen(blocks[i]), 1);
	walk_live(free_it, NULL);
}

static int walk_again(void *block UNUSED, size_t size UNUSED, void *context)
{
	size_t *total = context;

	seen.count = 0;
	walk_live(note, NULL);
	*total += seen.count;
	return 0;
}

static void test_visitor_walks(void **state UNUSED)
{
	void *first = quarry_malloc(10);
	void *second = quarry_malloc(100000);
	size_t total = 0;

	walk_live(walk_again, &total);
	assert_int_equal(total, 4);
	quarry_free(first);
	quarry_free(second);
}

/* A visitor that replaces a slab, while its blocks are being visited, by one of another class in the same place. */
enum { SMALL_COUNT = 512, LARGER_COUNT = 146, LARGER_BYTES = 448 };

static struct {
	void *small[SMALL_COUNT];
	void *larger[LARGER_COUNT];
	void *again[SMALL_COUNT];       /* of the first class: its header now serves another place */
	size_t at_visit;
	bool same_place;
} replacement;

static int replace_slab(void *block, size_t size, void *context)
{
	assert_int_equal(size, quarry_usable_size(block));
	note(block, size, context);
	if (seen.count != replacement.at_visit)
		return 0;
	for (size_t i = 0; i < SMALL_COUNT; i++)
		quarry_free(replacement.small[i]);
	quarry_trim(0);
	for (size_t i = 0; i < LARGER_COUNT; i++) {
		replacement.larger[i] = quarry_malloc(LARGER_BYTES);
		replacement.same_place |= ROUND_DOWN((uintptr_t)replacement.larger[i], UNIT_BYTES) ==
		                          ROUND_DOWN((uintptr_t)block, UNIT_BYTES);
	}
	for (size_t i = 0; i < SMALL_COUNT; i++)
		replacement.again[i] = quarry_aligned_alloc(128, 128);
	return 0;
}

static void test_visitor_replaces_slab(void **state UNUSED)
{
	size_t landed = 0;

	for (size_t visit = 1; visit <= 400; visit += slowdown() > 10 ? 7 : 1) {
		quarry_trim(0);
		replacement.at_visit = visit;
		replacement.same_place = false;
		for (size_t i = 0; i < SMALL_COUNT; i++)
			replacement.small[i] = quarry_aligned_alloc(128, 128);
		seen.count = 0;
		assert_int_equal(walk_live(replace_slab, NULL), 0);
		assert_in_order();
		landed += replacement.same_place;
		for (size_t i = 0; i < LARGER_COUNT; i++)
			quarry_free(replacement.larger[i]);
		for (size_t i = 0; i < SMALL_COUNT; i++)
			quarry_free(replacement.again[i]);
	}
	/* Else nothing was tested. */
	assert_true(landed > 0);
}

static int shrink(void *block, size_t size, void *context)
{
	char **large = context;

	assert_int_equal(size, quarry_usable_size(block));
	note(block, size, context);
	if (seen.count == 1)
		*large = quarry_realloc(*large, 100000);
	return 0;
}

static void test_visitor_shrinks_what_follows(void **state UNUSED)
{
	char *blocks[2] = { quarry_malloc(4 * MIB), quarry_malloc(4 * MIB) };
	bool swapped = blocks[0] > blocks[1];
	char *later = blocks[!swapped];

	seen.count = 0;
	assert_int_equal(walk_live(shrink, &blocks[!swapped]), 0);
	assert_int_equal(seen.count, 2);
	assert_ptr_equal(seen.blocks[1], blocks[!swapped]);
	assert_int_equal(seen.sizes[1], quarry_usable_size(blocks[!swapped]));
	assert_ptr_equal(later, blocks[!swapped]);
	quarry_free(blocks[0]);
	quarry_free(blocks[1]);
}

/* However small the steps, the same spans are met, and no step does more than its budget. */
static void test_small_steps(void **state UNUSED)
{
	void *large = quarry_malloc(3 * MIB);
	void *small = quarry_malloc(1);
	struct span_walk walk_over = span_walk_start();
	size_t spans = 0, found_small = 0, found_large = 0, exhausted = 0;

	/* Free units, which no span covers as a whole. */
	quarry_free(quarry_malloc(2 * MIB));
	while (walk_over.region != NULL) {
		size_t budget = 1;
		lock_take(&space_lock);
		const struct span *span = span_walk_next(&walk_over, &budget);
		if (span != NULL) {
			assert_true(span->kind == SPAN_SLAB || span->kind == SPAN_LARGE);
			found_small += span == span_of(small);
			found_large += span == span_of(large);
			spans++;
			assert_null(span_walk_next(&walk_over, &budget));
		}
		exhausted += walk_over.region != NULL && span == NULL;
		assert_int_equal(budget, walk_over.region == NULL && span == NULL);
		lock_release(&space_lock);
	}
	assert_int_equal(found_small, 1);
	assert_int_equal(found_large, 1);
	assert_true(exhausted > 0);

	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(spans, stats.slab_count + stats.live_large_blocks);
	quarry_free(small);
	quarry_free(large);
}

/* Three blocks that don't fit in one region, which is reserved address space only as long as nobody touches it. */
static void test_regions_by_address(void **state UNUSED)
{
	void *small = quarry_malloc(10);
	size_t bytes = region_first.reserved_bytes / 2 + UNIT_BYTES;
	void *blocks[3];

	for (size_t i = 0; i < 3; i++)
		blocks[i] = quarry_malloc(bytes);
	bool made = blocks[0] != NULL && blocks[1] != NULL && blocks[2] != NULL;
	if (made) {
		assert_in_range(region_count(), 2, 4);
		walk();
		assert_int_equal(seen.count, 4);
		assert_int_equal(times_seen(small), 1);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(times_seen(blocks[i]), 1);
	}
	quarry_free(small);
	for (size_t i = 0; i < 3; i++)
		quarry_free(blocks[i]);
	if (!made) {
		print_message("# skipped: no address space for a second region\n");
		skip();
	}
}

/* ---- Others allocate meanwhile ---- */

static _Atomic bool churning;

static void *churn(void *seed)
{
	enum { SLOTS = 400 };
	void *slots[SLOTS] = { NULL };
	uint64_t random = (uintptr_t)seed;

	while (atomic_load(&churning)) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		size_t slot = (random >> 33) % SLOTS;
		quarry_free(slots[slot]);
		/* Powers of two too: their slabs' bases are multiples of one another's sizes. */
		slots[slot] = quarry_malloc((random >> 20) % 64 == 0 ? 70000 : (size_t)16 << (random >> 50) % 11);
	}
	for (size_t i = 0; i < SLOTS; i++)
		quarry_free(slots[i]);
	return NULL;
}

/* Where the block is, or would be, in what was seen, which is in order and has no block twice. */
static size_t position_by_search(const void *block)
{
	size_t low = 0;
	size_t high = seen.count - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if ((uintptr_t)seen.blocks[middle] < (uintptr_t)block)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void test_others_allocate(void **state UNUSED)
{
	enum { COUNT = 2000, THREADS = 3, WALKS = 100 };
	static void *blocks[COUNT];
	pthread_t threads[THREADS];

	atomic_store(&churning, true);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < COUNT; i++)
		blocks[i] = quarry_malloc(i % 50 == 0 ? 90000 : 32 + i);
	for (size_t round = 0; round < WALKS; round++) {
		seen.count = 0;
		assert_int_equal(walk_live(note, NULL), 0);
		assert_in_order();
		for (size_t i = 0; i < COUNT; i++) {
			size_t at = position_by_search(blocks[i]);
			assert_ptr_equal(seen.blocks[at], blocks[i]);
			assert_int_equal(seen.sizes[at], quarry_usable_size(blocks[i]));
		}
	}
	atomic_store(&churning, false);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < COUNT; i++)
		quarry_free(blocks[i]);
}

/* ---- Single addresses ---- */

static void assert_no_block(const void *address, enum quarry_kind kind)
{
	struct quarry_description description = walk_describe(address);

	assert_int_equal(description.kind, kind);
	assert_null(description.block);
	assert_int_equal(description.size, 0);
	assert_int_equal(description.offset, 0);
	assert_false(description.large);
	assert_false(description.fresh);
}

static void test_describe_outside(void **state UNUSED)
{
	int local;

	quarry_free(quarry_malloc(1));
	assert_no_block(NULL, QUARRY_FOREIGN);
	assert_no_block(&local, QUARRY_FOREIGN);
	assert_no_block((void *)UINTPTR_MAX, QUARRY_FOREIGN);
	assert_no_block("literal", QUARRY_FOREIGN);
	assert_no_block((void *)(region_first.base + region_first.reserved_bytes - 1), QUARRY_UNUSED);
	assert_no_block((void *)(region_first.reservation + region_first.reservation_bytes), QUARRY_FOREIGN);
	assert_no_block((const void *)region_first.page_map, QUARRY_METADATA);
}

static void assert_block(const char *address, enum quarry_kind kind, const char *block, size_t size, bool large)
{
	struct quarry_description description = walk_describe(address);

	assert_int_equal(description.kind, kind);
	assert_ptr_equal(description.block, block);
	assert_int_equal(description.size, size);
	assert_int_equal(description.offset, address - block);
	assert_int_equal(description.large, large);
}

static void test_describe_small(void **state UNUSED)
{
	char *block = quarry_malloc(100);
	size_t size = quarry_usable_size(block);
	const struct span *slab = span_of(block);

	assert_block(block, QUARRY_LIVE, block, size, false);
	assert_block(block + 1, QUARRY_LIVE, block, size, false);
	assert_block(block + size - 1, QUARRY_LIVE, block, size, false);
	assert_int_not_equal(walk_describe(block + size).offset, size);
	assert_no_block(slab, QUARRY_METADATA);
	assert_no_block((const void *)slab->ledger, QUARRY_METADATA);

	/* The last block of a slab that has just been begun was never handed out; the one just freed was. */
	char *last = (char *)slab->base + (slab->end_index - 1u) * size;
	assert_block(last + 3, QUARRY_FREE, last, size, false);
	assert_true(walk_describe(last).fresh);
	assert_false(walk_describe(block).fresh);
	char *end = (char *)slab->start + slab->units * UNIT_BYTES;
	if (last + size < end)
		assert_no_block(last + size, QUARRY_UNUSED);
	char *first = (char *)slab->base + slab->first_index * size;
	if ((char *)slab->start < first)
		assert_no_block((void *)slab->start, QUARRY_UNUSED);
	quarry_free(block);
	assert_block(block + 7, QUARRY_FREE, block, size, false);
	assert_false(walk_describe(block).fresh);
}

static void test_describe_large(void **state UNUSED)
{
	char *block = quarry_malloc(1000001);
	size_t size = quarry_usable_size(block);
	const struct span *large = span_of(block);
	char *start = (char *)large->start;
	char *end = start + large->units * UNIT_BYTES;

	for (size_t offset = 0; offset < size; offset += 4097)
		assert_block(block + offset, QUARRY_LIVE, block, size, true);
	assert_block(block + size - 1, QUARRY_LIVE, block, size, true);
	if (start < block)
		assert_no_block(block - 1, QUARRY_UNUSED);
	if (block + size < end)
		assert_no_block(block + size, QUARRY_UNUSED);
	quarry_free(block);
	for (char *address = start; address < end; address += UNIT_BYTES / 2)
		assert_no_block(address, QUARRY_UNUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_empty, assert_nothing_lives),
		cmocka_unit_test_teardown(test_describe_outside, assert_nothing_lives),
		cmocka_unit_test_teardown(test_describe_small, assert_nothing_lives),
		cmocka_unit_test_teardown(test_describe_large, assert_nothing_lives),
		cmocka_unit_test_teardown(test_all_sizes, assert_nothing_lives),
		cmocka_unit_test_teardown(test_aligned, assert_nothing_lives),
		cmocka_unit_test_teardown(test_many, assert_nothing_lives),
		cmocka_unit_test_teardown(test_stops, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_frees_its_block, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_frees_what_follows, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_allocates, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_walks, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_replaces_slab, assert_nothing_lives),
		cmocka_unit_test_teardown(test_visitor_shrinks_what_follows, assert_nothing_lives),
		cmocka_unit_test_teardown(test_small_steps, assert_nothing_lives),
		cmocka_unit_test_teardown(test_others_allocate, assert_nothing_lives),
		cmocka_unit_test_teardown(test_regions_by_address, assert_nothing_lives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

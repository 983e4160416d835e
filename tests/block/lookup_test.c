/* What an address is: every kind of place. */
#include "model/support.h"

#include "block/large.h"
#include "block/lookup.h"
#include "block/slab.h"
#include "os/os.h"
#include "space/region.h"
#include "space/span.h"

static const char magazine_place;

static void expect(uintptr_t address, enum place_kind kind)
{
	struct place place = place_of((void *)address);

	if (place.kind != kind)
		fail_msg("%#jx is of kind %d, not %d", (uintmax_t)address, place.kind, kind);
	if (kind != PLACE_BLOCK) {
		assert_null(place.state);
		assert_int_equal(place.bytes, 0);
	}
}

static void test_foreign(void **state UNUSED)
{
	int here = 0;

	expect((uintptr_t)&here, PLACE_FOREIGN);
	expect((uintptr_t)&magazine_place, PLACE_FOREIGN);
	expect((uintptr_t)test_foreign, PLACE_FOREIGN);
	expect(0, PLACE_FOREIGN);
	expect(UINTPTR_MAX, PLACE_FOREIGN);
	expect(region_first.reservation - 1, PLACE_FOREIGN);
	expect(region_first.reservation + region_first.reservation_bytes, PLACE_FOREIGN);
}

static void test_metadata(void **state UNUSED)
{
	struct span *slab = slab_make(CLASS_OF_96, 4096, &magazine_place);    /* claimed */

	expect((uintptr_t)slab, PLACE_METADATA);
	expect((uintptr_t)slab->ledger, PLACE_METADATA);
	expect((uintptr_t)region_first.page_map, PLACE_METADATA);
	expect((uintptr_t)region_first.dirty, PLACE_METADATA);
	expect(region_first.reservation, PLACE_METADATA);
	expect(region_first.base - 1, PLACE_METADATA);
	slab_release(slab);
}

static void test_never_committed(void **state UNUSED)
{
	expect(region_first.base + region_first.committed_bytes, PLACE_RESERVED);
	expect(region_first.base + region_first.reserved_bytes - 1, PLACE_RESERVED);
}

/* Every byte of a slab of every class: block, its bounds and its state, or edge. */
static void test_slabs(void **state UNUSED)
{
	size_t step = slowdown() == 1 ? 1 : 13;

	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		struct span *slab = slab_make(class_index, 4096, &magazine_place);
		size_t size = slab->block_bytes;
		uintptr_t first = slab->base + slab->first_index * size;
		uintptr_t end = slab->base + slab->end_index * size;
		struct entry entries[5];
		size_t wrong = 0;

		assert_int_equal(slab_refill(slab, entries, 5), 5);
		for (size_t i = 0; i < 5; i++)
			ledger_set(entries[i].state, i % 2 == 0 ? LEDGER_LIVE : LEDGER_CACHED);
		for (uintptr_t at = slab->start; at < slab->start + slab->units * UNIT_BYTES; at += step) {
			struct place place = place_of((void *)at);
			struct span *span = NULL;
			ledger_byte *byte = NULL;
			bool live = live_block((void *)at, &span, &byte);
			if (at < first || at >= end) {
				wrong += place.kind != PLACE_SLAB_EDGE || live;
				continue;
			}
			size_t index = (at - first) / size;
			wrong += place.kind != PLACE_BLOCK || place.span != slab || place.bytes != size;
			wrong += place.start != first + index * size;
			wrong += place.state != &slab->ledger[slab->first_index + index];
			wrong += place.fresh != (index >= 5);
			wrong += live != (at == first + index * size && index < 5 && index % 2 == 0);
			if (live)
				wrong += span != slab || byte != place.state;
		}
		assert_int_equal(wrong, 0);
		uintptr_t start = slab->start;
		for (size_t i = 0; i < 5; i++)
			ledger_set_free(entries[i].state);
		slab_count_free(slab);
		slab_release(slab);
		expect(start, PLACE_SPAN_FREE);
		expect(start + 100, PLACE_SPAN_FREE);
	}
}

/* Large blocks of many units: each unit, colour before and rest behind; several beside each other. */
static void test_large(void **state UNUSED)
{
	unsigned char *blocks[12];

	for (size_t i = 0; i < 12; i++)
		assert_non_null(blocks[i] = large_make(33000 + i * i * 40000, (size_t)16 << i, false));
	for (size_t i = 0; i < 12; i++) {
		struct span *span = NULL;
		ledger_byte *byte = NULL;
		assert_true(live_block(blocks[i], &span, &byte));
		uintptr_t end = span->start + span->units * UNIT_BYTES;
		for (uintptr_t at = span->start; at < end; at += 1021) {
			struct place place = place_of((void *)at);
			if (at - span->base >= span->large_bytes) {
				assert_int_equal(place.kind, PLACE_SLAB_EDGE);
				continue;
			}
			assert_int_equal(place.kind, PLACE_BLOCK);
			assert_ptr_equal(place.span, span);
			assert_int_equal(place.start, span->base);
			assert_int_equal(place.bytes, span->large_bytes);
			assert_ptr_equal(place.state, &span->large_state);
			assert_false(place.fresh);
			assert_int_equal(live_block((void *)at, &(struct span *){ NULL }, &(ledger_byte *){ NULL }), at == span->base);
		}
		struct place last = place_of(blocks[i] + span->large_bytes - 1);
		assert_int_equal(last.kind, PLACE_BLOCK);
		assert_int_equal(last.start, span->base);
		if ((uintptr_t)blocks[i] + span->large_bytes < end)
			expect((uintptr_t)blocks[i] + span->large_bytes, PLACE_SLAB_EDGE);
		if ((uintptr_t)blocks[i] > span->start)
			expect((uintptr_t)blocks[i] - 1, PLACE_SLAB_EDGE);
	}
	for (size_t i = 0; i < 12; i++) {
		struct span *span = NULL;
		ledger_byte *byte = NULL;
		assert_true(live_block(blocks[i], &span, &byte));
		uintptr_t start = span->start, bytes = span->units * UNIT_BYTES;
		assert_true(ledger_end_life(byte, LEDGER_FREE));
		assert_false(live_block(blocks[i], &span, &byte));
		large_release(span);
		/* Units of nobody, also behind a large block that is still there. */
		for (uintptr_t at = start; at < start + bytes; at += UNIT_BYTES)
			expect(at + 1, PLACE_SPAN_FREE);
	}
}

/* Units that somebody has just taken and shown to nobody yet, behind a large block: not its. */
static void test_behind_large(void **state UNUSED)
{
	void *block = large_make(3 * UNIT_BYTES, 16, false);
	struct span *span = NULL;
	ledger_byte *byte = NULL;
	struct span_range range;

	assert_true(live_block(block, &span, &byte));
	uintptr_t end = span->start + span->units * UNIT_BYTES;
	lock_take(&space_lock);
	/* To be released alone. */
	bool taken = span_take_at(end, 2, &range) && span_split();
	lock_release(&space_lock);
	assert_true(taken);
	expect(end + 100, PLACE_SPAN_FREE);
	expect(end + UNIT_BYTES, PLACE_SPAN_FREE);
	lock_take(&space_lock);
	span_release(range.start, range.units, range.dirty_units > 0);
	lock_release(&space_lock);
	assert_true(ledger_end_life(byte, LEDGER_FREE));
	large_release(span);
}

static int setup(void **state UNUSED)
{
	struct span *slab = slab_make(CLASS_OF_16, 4096, &magazine_place);

	if (slab == NULL)
		return 1;
	slab_release(slab);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_metadata),
		cmocka_unit_test(test_never_committed),
		cmocka_unit_test(test_slabs),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_behind_large),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}

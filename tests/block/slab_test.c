/* Slabs: what the claim protects, against the ledger byte for byte. Every class. */
#include "model/support.h"

#include "block/slab.h"
#include "os/os.h"
#include "space/purge.h"
#include "space/span.h"

#define ENTRIES_MAX ((size_t)4200)

/* A refill may use the room of all that it is asked for. */
static struct entry entries[2 * ENTRIES_MAX];
static const char magazine_place;

static struct span *make(unsigned class_index)
{
	struct span *slab = slab_make(class_index, 4096, &magazine_place);

	assert_non_null(slab);
	assert_true(slab_is_valid(slab));
	/* It comes claimed, so that nobody is before its maker. */
	assert_false(claim_try(slab));
	claim_release(slab);
	return slab;
}

static void release(struct span *slab)
{
	assert_true(claim_try(slab));
	slab_release(slab);
}

/* A new slab of every class: all blocks in it, aligned, found by the page map, all FREE, TAIL around them. */
static void test_make(void **state UNUSED)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		const struct size_class *class = &size_classes[class_index];
		struct span *slab = make(class_index);
		size_t count = slab_block_count(slab);
		uintptr_t first = slab->base + slab->first_index * class->size;
		size_t colour = first - slab->start;

		assert_int_equal(slab->owner, 4096);
		assert_int_equal(slab->magazine, (uintptr_t)&magazine_place);
		assert_int_equal(slab->units, class->units);
		/* Less than eight pages and a line each for what the table says. */
		assert_true(colour < 8 * 4096 && IS_ALIGNED(colour, CACHE_LINE_BYTES));
		assert_true(class->size > 4096 || colour <= class->colour_lines * CACHE_LINE_BYTES);
		assert_true(IS_ALIGNED(first, low_bit(class->size) < 64 ? low_bit(class->size) : 64));
		if (class_index >= CLASS_FIRST_ALIGNED)
			assert_true(IS_ALIGNED(first, class->size));
		assert_int_equal(count, (class->units * UNIT_BYTES - colour) / class->size);
		assert_int_equal(slab->free_count, count);
		assert_int_equal(slab_count_free(slab), count);
		for (size_t i = 0; i <= slab->end_index; i++)
			assert_int_equal(ledger_get(&slab->ledger[i]),
			                 i < slab->first_index || i >= slab->end_index ? LEDGER_TAIL : LEDGER_FREE);
		for (size_t at = 0; at < slab->units * UNIT_BYTES; at += UNIT_BYTES)
			assert_ptr_equal(span_of((void *)(slab->start + at)), slab);
		uintptr_t start = slab->start;
		release(slab);
		assert_int_not_equal(span_of((void *)start)->kind, SPAN_SLAB);
		assert_int_equal(slab->multiplier, 0);
		assert_int_equal(slab->owner, OWNER_NONE);
		assert_int_equal(slab->claim, 0);
	}
}

/* A header is used again, with its colour; new ones take turns. */
static void test_headers_and_colours(void **state UNUSED)
{
	struct span *slabs[33];
	uint32_t seen = 0;

	for (size_t i = 0; i < 33; i++) {
		slabs[i] = make(CLASS_OF_512);
		seen |= 1u << ((slabs[i]->base + slabs[i]->first_index * 512 - slabs[i]->start) / CACHE_LINE_BYTES);
	}
	assert_int_equal(seen, 0xffff);
	for (size_t i = 0; i < 33; i++)
		release(slabs[i]);
	struct span *again = make(CLASS_OF_512);
	assert_ptr_equal(again, slabs[32]);
	release(again);
}

/* Refills of random length and returns in random order, against the ledger. */
static void test_refill_and_return(void **state UNUSED)
{
	struct random random = random_start(7);

	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		struct span *slab = make(class_index);
		size_t count = slab_block_count(slab);
		size_t held = 0;

		for (size_t round = 0; round < rounds(400, 20); round++) {
			size_t wanted = 1 + random_below(&random, count + 2);
			if (random_below(&random, 2) == 0) {
				uint16_t cursor = slab->cursor;
				assert_true(claim_try(slab));
				size_t found = slab_refill(slab, entries + held, wanted);
				claim_release(slab);
				/* All there are, if not all that were wanted; the cursor never hides a free one. */
				assert_int_equal(found, min_size(wanted, count - held));
				for (size_t i = 0; i < found; i++) {
					struct entry *entry = &entries[held + i];
					size_t index = (size_t)(entry->state - slab->ledger);
					assert_in_range(index, max_size(cursor, slab->first_index), slab->end_index - 1u);
					assert_int_equal((uintptr_t)entry->block, slab->base + index * slab->block_bytes);
					assert_in_range(ledger_get(entry->state), LEDGER_CACHED, LEDGER_CACHED_ZERO);
					assert_true(i == 0 || entry->block < entries[held + i - 1].block);
					/* Known to be zero: then it is. */
					if (ledger_get(entry->state) == LEDGER_CACHED_ZERO)
						for (size_t at = 0; at < slab->block_bytes; at += 8)
							assert_int_equal(*(uint64_t *)((char *)entry->block + at), 0);
					memset(entry->block, 0xcc, slab->block_bytes);
					ledger_set(entry->state, LEDGER_CACHED);
				}
				held += found;
			} else {
				for (; wanted > 0 && held > 0; wanted--) {
					size_t pick = random_below(&random, held);
					slab_return(slab, entries[pick].state);
					entries[pick] = entries[--held];
				}
			}
			assert_true(slab->free_count <= count - held);
			assert_true(slab_is_valid(slab));
			if (random_below(&random, 4) == 0)
				assert_int_equal(slab_count_free(slab), count - held);
		}
		while (held > 0)
			slab_return(slab, entries[--held].state);
		assert_int_equal(slab_count_free(slab), count);
		release(slab);
	}
}

/* Nothing but clean memory is called zero: the next slab on the same units knows better. */
static void test_used_memory_is_not_called_zero(void **state UNUSED)
{
	purge_configure(1024 * MIB, 0, UINT64_MAX, 3600000);
	purge_all(0);
	struct span *slab = make(CLASS_OF_256);
	uintptr_t start = slab->start;

	assert_true(slab->born_zero);
	assert_true(claim_try(slab));
	assert_int_equal(slab_refill(slab, entries, 5), 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(ledger_get(entries[i].state), LEDGER_CACHED_ZERO);
		memset(entries[i].block, 0xee, 256);
		slab_return(slab, entries[i].state);
	}
	/* The same blocks again: used. The next ones: still fresh. */
	assert_int_equal(slab_refill(slab, entries, 7), 7);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(ledger_get(entries[i].state), i < 2 ? LEDGER_CACHED_ZERO : LEDGER_CACHED);
		slab_return(slab, entries[i].state);
	}
	claim_release(slab);
	release(slab);
	slab = make(CLASS_OF_256);
	assert_int_equal(slab->start, start);
	assert_false(slab->born_zero);
	assert_int_equal(slab_refill(slab, entries, 100), 100);
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(ledger_get(entries[i].state), LEDGER_CACHED);
		slab_return(slab, entries[i].state);
	}
	release(slab);
	/* Once it has gone back it is zero again; a slab that nobody used leaves it so. */
	purge_all(0);
	slab = make(CLASS_OF_256);
	assert_true(slab->born_zero);
	release(slab);
	assert_int_equal(span_dirty_units(), 0);
}

/* ---- Dropping pages ---- */

/* Random blocks are used, in every class: exactly the pages that no used block touches go. */
static void test_drop_pages(void **state UNUSED)
{
	struct random random = random_start(8);
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		struct span *slab = make(class_index);
		size_t count = slab_block_count(slab);
		size_t bytes = slab->units * UNIT_BYTES;
		size_t granule = slab_granule_bytes(slab);
		size_t pages = bytes / granule;
		bool used[UNIT_BYTES * 8 / 4096] = { false };
		size_t expected = 0;

		assert_true(claim_try(slab));
		assert_int_equal(slab_refill(slab, entries, count), count);
		memset((void *)slab->start, 0x77, bytes);
		/* A few in a row, here and there, in every state that keeps a page. */
		size_t keep = 1 + random_below(&random, 1 + count / 8);
		for (size_t i = 0; i < count; i++) {
			if (random_below(&random, count) >= keep) {
				slab_return(slab, entries[i].state);
				continue;
			}
			if (random_below(&random, 2) == 0)
				ledger_set(entries[i].state, LEDGER_LIVE);
			size_t from = (uintptr_t)entries[i].block - slab->start;
			for (size_t at = from / granule; at <= (from + slab->block_bytes - 1) / granule; at++)
				used[at] = true;
		}
		for (size_t i = 0; i < pages; i++)
			expected += used[i] ? 0 : granule;
		/* Only what was free at the sweep before; then all. */
		if (random_below(&random, 2) == 0) {
			assert_int_equal(slab_sweep(slab, SLAB_SWEEP_AGED, true).dropped_bytes, 0);
			assert_int_equal(slab_sweep(slab, SLAB_SWEEP_LOOK, true).left_bytes, expected);
			assert_int_equal(slab_sweep(slab, SLAB_SWEEP_AGED, true).resident_bytes, expected);
		} else {
			assert_int_equal(slab_sweep(slab, SLAB_SWEEP_ALL, true).resident_bytes, expected);
		}
		for (size_t i = 0; i < pages; i++) {
			assert_int_equal(((char *)slab->start)[i * granule], used[i] ? 0x77 : 0);
			assert_int_equal(((char *)slab->start)[i * granule + granule - 1], used[i] ? 0x77 : 0);
		}
		/* Reading has mapped the zero page; apart from that nothing is left to drop. */
		assert_int_equal(slab_sweep(slab, SLAB_SWEEP_ALL, true).dropped_bytes, 0);
		for (size_t i = 0; i < count; i++)
			ledger_set_free(&slab->ledger[slab->first_index + i]);
		slab_count_free(slab);
		slab_release(slab);
	}
}

static void test_forget_cached(void **state UNUSED)
{
	struct span *slab = make(CLASS_OF_1024);
	size_t count = slab_block_count(slab);

	assert_true(claim_try(slab));
	assert_int_equal(slab_refill(slab, entries, count), count);
	for (size_t i = 0; i < count; i++)
		ledger_set(entries[i].state, (uint8_t)(LEDGER_LIVE + i % 3));
	slab_forget_cached(slab);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(ledger_get(entries[i].state), i % 3 == 0 ? LEDGER_LIVE : LEDGER_FREE);
	assert_int_equal(slab_count_free(slab), count - (count + 2) / 3);
	for (size_t i = 0; i < slab->first_index; i++)
		assert_int_equal(ledger_get(&slab->ledger[i]), LEDGER_TAIL);
	assert_int_equal(ledger_get(&slab->ledger[slab->end_index]), LEDGER_TAIL);
	for (size_t i = 0; i < count; i += 3)
		ledger_set_free(entries[i].state);
	slab_release(slab);
}

/* ---- The invariant can fail ---- */

static void test_is_valid_notices(void **state UNUSED)
{
	struct span *slab = make(CLASS_OF_64);

	slab->free_count++;
	assert_false(slab_is_valid(slab));
	slab->free_count--;
	ledger_set(&slab->ledger[slab->end_index], LEDGER_FREE);
	assert_false(slab_is_valid(slab));
	ledger_set(&slab->ledger[slab->end_index], LEDGER_TAIL);
	slab->block_bytes = 80;
	assert_false(slab_is_valid(slab));
	slab->block_bytes = 64;
	assert_true(slab_is_valid(slab));
	release(slab);
}

static void release_in_use(void *slab)
{
	slab_release(slab);
}

static void test_release_in_use_dies(void **state UNUSED)
{
	struct span *slab = make(CLASS_OF_64);
	char said[512];

	ledger_set(&slab->ledger[slab->first_index + 3], LEDGER_LIVE);
	slab->free_count = 0;
	int status = child_run(release_in_use, slab, said, sizeof(said));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(said, "ledger_count_free"));
	ledger_set_free(&slab->ledger[slab->first_index + 3]);
	release(slab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_headers_and_colours),
		cmocka_unit_test(test_refill_and_return),
		cmocka_unit_test(test_used_memory_is_not_called_zero),
		cmocka_unit_test(test_drop_pages),
		cmocka_unit_test(test_forget_cached),
		cmocka_unit_test(test_is_valid_notices),
		cmocka_unit_test(test_release_in_use_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

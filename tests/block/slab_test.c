/* Slabs: what the claim protects, against the ledger byte for byte. Every class. */
#include "model/support.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

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
		slabs[i] = make(CLASS_OF_256);
		seen |= 1u << ((slabs[i]->base + slabs[i]->first_index * 256 - slabs[i]->start) / CACHE_LINE_BYTES);
	}
	assert_int_equal(seen, 0xffff);
	for (size_t i = 0; i < 33; i++)
		release(slabs[i]);
	struct span *again = make(CLASS_OF_256);
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
		slab->away = 0;
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

/* ---- Sweeps, against a shadow of every block and granule ---- */

struct shadow {
	struct span *slab;
	uint64_t away;                          /* what should be */
	uint64_t aged;
	bool swept;
	size_t fresh;                           /* no block from this index on has been handed out */
	uint64_t patterns[ENTRIES_MAX];         /* by index; 0: FREE */
	size_t held[ENTRIES_MAX];               /* their indices */
	size_t held_count;
};

static uint64_t *words_of(const struct span *slab, size_t index)
{
	return (uint64_t *)(slab->base + index * slab->block_bytes);
}

static bool holds(const struct span *slab, size_t index, uint64_t pattern)
{
	const uint64_t *words = words_of(slab, index);

	for (size_t i = 0; i < slab->block_bytes / sizeof(*words); i++)
		if (words[i] != pattern)
			return false;
	return true;
}

/* The granules that a block lies in, counted without slab.c's arithmetic. */
static uint64_t granules_under(const struct span *slab, size_t index)
{
	size_t from = slab->base + index * slab->block_bytes - slab->start;
	size_t granule = slab_granule_bytes(slab);
	uint64_t mask = 0;

	for (size_t at = from / granule; at * granule < from + slab->block_bytes; at++)
		mask |= (uint64_t)1 << at;
	return mask;
}

static uint64_t all_granules(const struct span *slab)
{
	size_t count = slab->units * UNIT_BYTES / slab_granule_bytes(slab);

	assert_in_range(count, 1, 64);
	return count == 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
}

static void shadow_refill(struct shadow *shadow, size_t wanted, uint64_t *pattern)
{
	struct span *slab = shadow->slab;
	uint64_t refaulted = slab_refaulted_bytes();
	uint64_t touched = 0, touched_before = 0;
	size_t found = slab_refill(slab, entries, wanted);
	size_t fresh = shadow->fresh;

	for (size_t i = 0; i < found; i++) {
		size_t index = (size_t)(entries[i].state - slab->ledger);
		uint64_t own = granules_under(slab, index);
		bool zero = (own & ~shadow->away) == 0 || (slab->born_zero && index >= fresh);
		touched |= own;
		touched_before |= index < fresh ? own : 0;
		assert_int_equal(shadow->patterns[index], 0);
		assert_int_equal(ledger_get(entries[i].state), zero ? LEDGER_CACHED_ZERO : LEDGER_CACHED);
		assert_true(!zero || holds(slab, index, 0));
		shadow->patterns[index] = (*pattern)++;
		shadow->held[shadow->held_count++] = index;
		shadow->fresh = max_size(shadow->fresh, index + 1);
	}
	/* Not before all have been looked at: neighbours share granules. */
	for (size_t i = 0; i < found; i++) {
		size_t index = (size_t)(entries[i].state - slab->ledger);
		for (size_t at = 0; at < slab->block_bytes / 8; at++)
			words_of(slab, index)[at] = shadow->patterns[index];
		if (i % 2 == 0)
			ledger_set(entries[i].state, LEDGER_LIVE);
	}
	size_t again = shadow->swept ? (size_t)popcount64(touched_before & shadow->away) * slab_granule_bytes(slab) : 0;
	assert_int_equal(slab_refaulted_bytes() - refaulted, again);
	shadow->away &= ~touched;
	assert_int_equal(slab->away, shadow->away);
}

static void shadow_return(struct shadow *shadow, size_t pick)
{
	size_t index = shadow->held[pick];

	assert_true(holds(shadow->slab, index, shadow->patterns[index]));
	shadow->patterns[index] = 0;
	shadow->held[pick] = shadow->held[--shadow->held_count];
	slab_return(shadow->slab, &shadow->slab->ledger[index]);
}

static void shadow_sweep(struct shadow *shadow, enum slab_sweep how)
{
	struct span *slab = shadow->slab;
	size_t granule = slab_granule_bytes(slab);
	uint64_t there = all_granules(slab) & ~shadow->away;

	for (size_t i = 0; i < shadow->held_count; i++)
		there &= ~granules_under(slab, shadow->held[i]);
	uint64_t dropped = how == SLAB_SWEEP_ALL ? there : how == SLAB_SWEEP_AGED ? there & shadow->aged : 0;
	struct slab_swept swept = slab_sweep(slab, how, false);
	shadow->away |= dropped;
	shadow->aged = there & ~dropped;
	shadow->swept |= dropped != 0;
	assert_false(swept.refused);
	assert_int_equal(swept.dropped_bytes, (size_t)popcount64(dropped) * granule);
	assert_int_equal(swept.left_bytes, (size_t)popcount64(shadow->aged) * granule);
	assert_int_equal(swept.away_bytes, (size_t)popcount64(shadow->away) * granule);
	assert_int_equal(slab->away, shadow->away);
	for (; dropped != 0; dropped &= dropped - 1) {
		const uint64_t *words = (const uint64_t *)(slab->start + (size_t)__builtin_ctzll(dropped) * granule);
		for (size_t i = 0; i < granule / sizeof(*words); i++)
			assert_int_equal(words[i], 0);
	}
}

static void shadow_run(struct random *random, unsigned class_index, bool clean)
{
	static struct shadow shadow;
	struct span *slab = make(class_index);
	size_t count = slab_block_count(slab);
	uint64_t pattern = 0x0101010101010101;

	assert_int_equal(slab->born_zero, clean);
	memset(&shadow, 0, sizeof(shadow));
	shadow.slab = slab;
	shadow.away = clean ? all_granules(slab) : 0;
	shadow.fresh = slab->first_index;
	assert_int_equal(slab->away, shadow.away);
	assert_true(claim_try(slab));
	shadow_refill(&shadow, 1, &pattern);
	for (size_t round = 0; round < rounds(60, 12); round++) {
		switch (random_below(random, 5)) {
		case 0:
		case 1:
			shadow_refill(&shadow, 1 + random_below(random, 1 + count / 3), &pattern);
			break;
		case 2:
			/* Neighbours: so that granules become free. */
			for (size_t from = random_below(random, count), i = shadow.held_count; i-- > 0;)
				if (shadow.held[i] - slab->first_index - from < count / 2)
					shadow_return(&shadow, i);
			break;
		case 3:
			for (size_t left = shadow.held_count / 4; left > 0; left--)
				shadow_return(&shadow, random_below(random, shadow.held_count));
			break;
		default:
			shadow_sweep(&shadow, (enum slab_sweep)random_below(random, 3));
		}
		slab_count_free(slab);
		assert_true(slab_is_valid(slab));
	}
	while (shadow.held_count > 0)
		shadow_return(&shadow, shadow.held_count - 1);
	shadow_sweep(&shadow, SLAB_SWEEP_ALL);
	assert_int_equal(slab->away, all_granules(slab));
	/* One block more, or it is released as clean. */
	shadow_refill(&shadow, 1, &pattern);
	shadow_return(&shadow, 0);
	slab_count_free(slab);
	slab_release(slab);
}

/* Random refills, returns and sweeps in every class, in clean memory and in used memory: what is in use never changes,
 * what is called zero is, and what is away is what a shadow says. */
static void test_sweep_shadow(void **state UNUSED)
{
	struct random random = random_start(9);

	purge_configure(1024 * MIB, 0, UINT64_MAX, 3600000);
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		purge_all(0);
		shadow_run(&random, class_index, true);
		/* The same units again, dirty. */
		shadow_run(&random, class_index, false);
	}
	purge_all(0);
}

/* A slab that nobody has used has nothing to give back, and the kernel isn't asked. */
static void test_sweep_of_clean_memory(void **state UNUSED)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		purge_all(0);
		struct span *slab = make(class_index);
		uint64_t calls = purge_figures().purge_count;

		assert_int_equal(slab->away, all_granules(slab));
		assert_true(claim_try(slab));
		for (int how = SLAB_SWEEP_LOOK; how <= SLAB_SWEEP_ALL; how++) {
			struct slab_swept swept = slab_sweep(slab, (enum slab_sweep)how, true);
			assert_int_equal(swept.dropped_bytes + swept.left_bytes + swept.resident_bytes, 0);
			assert_int_equal(swept.away_bytes, slab->units * UNIT_BYTES);
		}
		assert_int_equal(purge_figures().purge_count, calls);
		/* One block's granules, in one call. */
		assert_int_equal(slab_refill(slab, entries, 1), 1);
		uint64_t own = granules_under(slab, slab->first_index);
		assert_int_equal(slab->away, all_granules(slab) & ~own);
		slab_return(slab, entries[0].state);
		assert_int_equal(slab_sweep(slab, SLAB_SWEEP_ALL, false).dropped_bytes,
		                 (size_t)popcount64(own) * slab_granule_bytes(slab));
		assert_int_equal(purge_figures().purge_count, calls + 1);
		slab_count_free(slab);
		slab_release(slab);
	}
}

/* The kernel refuses a range with a hole in it: what was in the range is not taken for gone. */
static void test_sweep_refused(void **state UNUSED)
{
	SKIP_EMULATED("any advice is taken");
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	struct span *slab = make(CLASS_OF_1024);
	size_t granule = slab_granule_bytes(slab);
	size_t count = slab_block_count(slab);
	void *hole = (void *)(slab->start + ROUND_DOWN(slab->units * UNIT_BYTES / 2, granule));

	assert_true(claim_try(slab));
	assert_int_equal(slab_refill(slab, entries, count), count);
	for (size_t i = 0; i < count; i++) {
		memset(entries[i].block, 0x33, 1024);
		slab_return(slab, entries[i].state);
	}
	uint64_t before = purge_figures().purged_bytes;
	os_unmap(hole, granule);
	struct slab_swept swept = slab_sweep(slab, SLAB_SWEEP_ALL, false);
	assert_true(swept.refused);
	assert_int_equal(swept.dropped_bytes, 0);
	assert_int_equal(swept.left_bytes, slab->units * UNIT_BYTES);
	assert_int_equal(slab->away, 0);
	assert_int_equal(purge_figures().purged_bytes, before);
	assert_int_equal(os_remap_fresh(hole, granule), 0);
	/* None is called zero, whatever was lost on the way. */
	assert_int_equal(slab_refill(slab, entries, count), count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(ledger_get(entries[i].state), LEDGER_CACHED);
		slab_return(slab, entries[i].state);
	}
	swept = slab_sweep(slab, SLAB_SWEEP_ALL, false);
	assert_false(swept.refused);
	assert_int_equal(swept.dropped_bytes, slab->units * UNIT_BYTES);
	slab_count_free(slab);
	/* Nothing of it is there any more. */
	size_t dirty = span_dirty_units();
	slab_release(slab);
	assert_int_equal(span_dirty_units(), dirty);
}

/* Memory that the program has locked: given back (MADV_DONTNEED_LOCKED, Linux 5.18) or left as it is. */
static void test_sweep_of_locked_memory(void **state UNUSED)
{
	struct span *slab = make(CLASS_OF_4160);
	size_t bytes = slab->units * UNIT_BYTES;
	size_t count = slab_block_count(slab);

	if (syscall(SYS_mlock, (void *)slab->start, bytes) != 0) {
		print_message("# mlock: %s\n", strerror(errno));
		release(slab);
		skip();
	}
	assert_true(claim_try(slab));
	assert_int_equal(slab_refill(slab, entries, count), count);
	for (size_t i = 0; i < count; i++) {
		memset(entries[i].block, 0x44, slab->block_bytes);
		slab_return(slab, entries[i].state);
	}
	slab->away = 0;
	struct slab_swept swept = slab_sweep(slab, SLAB_SWEEP_ALL, false);
	assert_int_equal(swept.dropped_bytes, swept.refused ? 0 : bytes);
	assert_int_equal(slab->away, swept.refused ? 0 : all_granules(slab));
	for (size_t i = slab->first_index; i < slab->end_index; i++)
		assert_true(holds(slab, i, swept.refused ? 0x4444444444444444 : 0));
	syscall(SYS_munlock, (void *)slab->start, bytes);
	slab_count_free(slab);
	slab_release(slab);
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
		cmocka_unit_test(test_sweep_shadow),
		cmocka_unit_test(test_sweep_of_clean_memory),
		cmocka_unit_test(test_sweep_refused),
		cmocka_unit_test(test_sweep_of_locked_memory),
		cmocka_unit_test(test_forget_cached),
		cmocka_unit_test(test_is_valid_notices),
		cmocka_unit_test(test_release_in_use_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

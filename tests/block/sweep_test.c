/* Sweeps over all slabs: how much they give back, when they start, and whether their figures and the kernel's agree. The
 * blocks are quarry_malloc's, so the slow paths that carry the sweeps are the real ones. */
#include "model/support.h"

#include <pthread.h>
#include <stdatomic.h>

#include "block/sweep.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/huge.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "space/span.h"

#define HOUR_MS 3600000
#define BLOCK_BYTES 256
#define RUN_BLOCKS 200                  /* of which the first KEPT_BLOCKS stay: less than a page's worth */
#define KEPT_BLOCKS 10

/* Memory of the regions that is there. */
static size_t resident(void)
{
	size_t bytes = 0;

	for (size_t i = 0; i < region_count(); i++)
		bytes += os_resident_bytes((void *)region_at(i)->base, region_at(i)->committed_bytes);
	return bytes;
}

/* What a sweep should find: granules of slabs that hold nothing but FREE blocks and are there. */
static size_t walk_droppable(void)
{
	size_t bytes = 0;

	for (size_t r = 0; r < region_count(); r++) {
		const struct region *region = region_at(r);
		for (size_t at = 0; at < region->committed_bytes; at += UNIT_BYTES) {
			const struct span *slab = region_span(region, region->base + at);
			if (slab->kind != SPAN_SLAB || slab->start != region->base + at)
				continue;
			size_t granule = slab_granule_bytes(slab);
			uint64_t kept = slab->away;
			for (size_t i = slab->first_index; i < slab->end_index; i++) {
				size_t from = slab->base + i * slab->block_bytes - slab->start;
				for (size_t g = from / granule; g * granule < from + slab->block_bytes; g++)
					if (ledger_get(&slab->ledger[i]) != LEDGER_FREE)
						kept |= (uint64_t)1 << g;
			}
			for (size_t g = 0; g < slab->units * UNIT_BYTES / granule; g++)
				bytes += (kept >> g & 1) != 0 ? 0 : granule;
		}
	}
	return bytes;
}

/* Nothing dirty, nothing learnt, no sweep under way or due by the clock for half a decay_ms. */
static void configure(uint64_t retain_bytes, uint64_t decay_ms)
{
	quarry_trim(0);
	forget_given_back();
	purge_configure(retain_bytes, 0, UINT64_MAX, decay_ms);
	sweep_configure(decay_ms);
	sweep_note(0, 64 * MIB);
	for (int i = 0; i < 1000; i++)
		sweep_tick();
	sweep_all(SLAB_SWEEP_LOOK, false);
}

static char **blocks_make(size_t count)
{
	char **blocks = malloc(count * sizeof(*blocks));

	assert_non_null(blocks);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = quarry_malloc(BLOCK_BYTES);
		assert_non_null(blocks[i]);
		memset(blocks[i], (int)(i % 251 + 1), BLOCK_BYTES);
	}
	return blocks;
}

/* All but a few in a row, so that every slab stays in use. */
static void blocks_free_most(char **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (i % RUN_BLOCKS >= KEPT_BLOCKS)
			quarry_free(blocks[i]);
}

static void blocks_free_rest(char **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i % RUN_BLOCKS >= KEPT_BLOCKS)
			continue;
		for (size_t at = 0; at < BLOCK_BYTES; at++)
			assert_int_equal((unsigned char)blocks[i][at], i % 251 + 1);
		quarry_free(blocks[i]);
	}
	free(blocks);
}

/* ---- sweep_all ---- */

static void test_all_gives_back_what_is_free(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(40000, 4000);
	char **blocks = blocks_make(count);

	blocks_free_most(blocks, count);
	struct sweep_figures before = sweep_figures();
	uint64_t purged = purge_figures().purged_bytes;
	size_t free_bytes = walk_droppable();
	assert_true(free_bytes > count * BLOCK_BYTES / 2);
	/* Looking changes nothing, and finds it. */
	size_t full = resident();
	assert_int_equal(sweep_all(SLAB_SWEEP_LOOK, false), 0);
	assert_int_equal(sweep_figures().left_bytes, free_bytes);
	assert_int_equal(walk_droppable(), free_bytes);
	assert_int_equal(resident(), full);
	size_t said = sweep_all(SLAB_SWEEP_ALL, true);
	assert_int_equal(full - resident(), said);
	assert_int_equal(walk_droppable(), 0);
	struct sweep_figures after = sweep_figures();
	assert_int_equal(after.given_back_bytes - before.given_back_bytes, free_bytes);
	assert_int_equal(purge_figures().purged_bytes - purged, free_bytes);
	assert_int_equal(after.sweeps - before.sweeps, 2);
	assert_int_equal(after.left_bytes, 0);
	/* All of it was there but what no block has touched: colours and tails. */
	assert_true(said <= free_bytes && said >= free_bytes - free_bytes / 16);
	assert_int_equal(sweep_all(SLAB_SWEEP_ALL, true), 0);

	/* Handed out again: counted, as much as was given back and no more. */
	for (size_t i = 0; i < count; i++)
		if (i % RUN_BLOCKS >= KEPT_BLOCKS)
			blocks[i] = quarry_malloc(BLOCK_BYTES);
	size_t again = sweep_figures().refaulted_bytes - before.refaulted_bytes;
	assert_true(again <= free_bytes && again >= free_bytes - free_bytes / 8);
	blocks_free_most(blocks, count);
	blocks_free_rest(blocks, count);
}

/* What one sweep has found, the next gives back; what has become free meanwhile, the one after that. */
static void test_aged(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(40000, 4000) / (2 * RUN_BLOCKS) * (2 * RUN_BLOCKS);
	char **blocks = blocks_make(count);

	blocks_free_most(blocks, count / 2);
	sweep_all(SLAB_SWEEP_LOOK, false);
	size_t first = sweep_figures().left_bytes;
	assert_true(first > 0);
	blocks_free_most(blocks + count / 2, count / 2);
	size_t both = walk_droppable();
	assert_true(both > first + first / 2);
	/* But for a slab that has become empty meanwhile, and is none any more. */
	size_t aged = sweep_all(SLAB_SWEEP_AGED, false);
	assert_true(aged <= first && aged >= first - first / 16);
	assert_int_equal(sweep_figures().left_bytes, both - aged);
	assert_int_equal(sweep_all(SLAB_SWEEP_AGED, false), both - aged);
	assert_int_equal(sweep_figures().left_bytes, 0);
	blocks_free_rest(blocks, count);
}

/* A claimed slab is passed by, not waited for. */
static void test_claimed_slab_is_passed_by(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = 4000;
	char **blocks = blocks_make(count);

	blocks_free_most(blocks, count);
	size_t free_bytes = walk_droppable();
	struct span *slab = span_of(blocks[RUN_BLOCKS * 10]);
	assert_true(claim_try(slab));
	size_t dropped = sweep_all(SLAB_SWEEP_ALL, false);
	claim_release(slab);
	size_t left = walk_droppable();
	assert_true(left > 0 && left < slab->units * UNIT_BYTES);
	assert_int_equal(dropped, free_bytes - left);
	assert_int_equal(sweep_all(SLAB_SWEEP_ALL, false), left);
	blocks_free_rest(blocks, count);
}

/* ---- When ---- */

/* A tear-down: memory falls to what is live and what may be retained, by the frees themselves, however long the decay. */
static void test_tear_down(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(16 * MIB, HOUR_MS);
	size_t before = resident();
	size_t count = rounds(800000, 400000);
	char **blocks = blocks_make(count);
	size_t full = resident() - before;

	assert_true(full >= count * BLOCK_BYTES);
	blocks_free_most(blocks, count);
	/* A page or two for every run, what may be retained, and a few notes' worth of what isn't known yet. */
	size_t live = count / RUN_BLOCKS * 2 * os_page_bytes();
	size_t now = resident() - before;
	print_message("# %zu MiB, then %zu MiB; live: at most %zu MiB, retained: %zu MiB\n", full / MIB, now / MIB, live / MIB,
	              purge_retained_max() / MIB);
	assert_true(now < full / 2);
	assert_true(now <= live + purge_retained_max() + 16 * MIB);
	blocks_free_rest(blocks, count);
}

/* Under what may be retained nothing goes before its time; then all goes that nobody wanted. */
static void test_decay(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(100000, 20000);
	char **blocks = blocks_make(count);
	uint64_t given_back = sweep_figures().given_back_bytes;

	blocks_free_most(blocks, count);
	/* Sweeps that only look are due meanwhile. */
	for (int i = 0; i < 40; i++) {
		sweep_note(8 * MIB, 8 * MIB);
		for (int j = 0; j < 1000; j++)
			sweep_tick();
	}
	assert_int_equal(sweep_figures().given_back_bytes, given_back);
	size_t free_bytes = walk_droppable();
	size_t full = resident();
	assert_true(free_bytes > 0);

	sweep_configure(200);
	for (int i = 0; i < 400 && walk_droppable() > 0; i++) {
		for (int j = 0; j < 1000; j++)
			sweep_tick();
		sleep_ms(5);
	}
	assert_int_equal(walk_droppable(), 0);
	assert_int_equal(sweep_figures().given_back_bytes - given_back, free_bytes);
	assert_true(resident() <= full - free_bytes + free_bytes / 16);
	blocks_free_rest(blocks, count);
}

/* What is free for less than half a decay_ms stays, also when sweeps by time go on. */
static void test_young_memory_stays(void **state UNUSED)
{
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(20000, 4000);
	char **blocks = blocks_make(count);

	uint64_t given_back = sweep_figures().given_back_bytes;
	blocks_free_most(blocks, count);
	size_t free_bytes = walk_droppable();
	sweep_configure(100000);
	/* The first look at the clock finds a sweep due, which finds nothing that has aged. */
	sweep_note(0, MIB);
	for (int j = 0; j < 100000; j++)
		sweep_tick();
	assert_true(sweep_figures().left_bytes >= free_bytes / 2);
	assert_int_equal(sweep_figures().given_back_bytes, given_back);
	assert_int_equal(walk_droppable(), free_bytes);
	blocks_free_rest(blocks, count);
}

/* The scavenger's way: no slow path passes, the time alone counts. */
static void test_background(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(20000, 4000);
	char **blocks = blocks_make(count);

	blocks_free_most(blocks, count);
	size_t free_bytes = walk_droppable();
	uint64_t given_back = sweep_figures().given_back_bytes;
	sweep_configure(1000);
	purge_configure(1024 * MIB, 0, UINT64_MAX, 1000);
	assert_true(sweep_background());
	assert_int_equal(sweep_figures().given_back_bytes, given_back);
	/* At once again: too early. */
	assert_true(sweep_background());
	assert_int_equal(sweep_figures().given_back_bytes, given_back);
	bool more = true;
	for (int i = 0; i < 100 && more; i++) {
		sleep_ms(100);
		more = sweep_background();
	}
	assert_false(more);
	assert_int_equal(sweep_figures().given_back_bytes - given_back, free_bytes);
	assert_int_equal(walk_droppable(), 0);
	assert_int_equal(span_dirty_units(), 0);
	blocks_free_rest(blocks, count);
}

/* While memory is short a free page goes at once, whoever sweeps, and though more might be retained. */
static void test_pressure(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	for (int background = 0; background < 2; background++) {
		configure(1024 * MIB, HOUR_MS);
		size_t count = rounds(20000, 4000);
		char **blocks = blocks_make(count);
		blocks_free_most(blocks, count);
		size_t free_bytes = walk_droppable();
		assert_true(free_bytes > 0);
		/* No sweep has seen these yet. */
		uint64_t given_back = sweep_figures().given_back_bytes;
		atomic_store_explicit(&pressure_now, PRESSURE_SOME, memory_order_relaxed);
		if (background) {
			sweep_background();
		} else {
			sweep_note(64 * MIB, 0);
			for (int i = 0; i < 1000; i++)
				sweep_tick();
		}
		atomic_store_explicit(&pressure_now, PRESSURE_NONE, memory_order_relaxed);
		assert_int_equal(sweep_figures().given_back_bytes - given_back, free_bytes);
		assert_int_equal(walk_droppable(), 0);
		blocks_free_rest(blocks, count);
	}
}

/* Where huge pages are wanted, free pages of slabs stay until somebody asks, and nobody waits for them. */
static void test_huge_pages_stay(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(20000, 4000);
	char **blocks = blocks_make(count);

	huge_configure(HUGE_WANTED);
	blocks_free_most(blocks, count);
	size_t free_bytes = walk_droppable();
	uint64_t given_back = sweep_figures().given_back_bytes;
	sweep_configure(10);
	for (int i = 0; i < 10; i++) {
		sweep_background();
		sleep_ms(10);
	}
	assert_int_equal(sweep_figures().given_back_bytes, given_back);
	assert_true(sweep_figures().left_bytes > 0);
	assert_int_equal(walk_droppable(), free_bytes);
	assert_false(sweep_is_needed());
	huge_configure(HUGE_NONE);
	assert_true(sweep_is_needed());
	blocks_free_rest(blocks, count);
}

/* ---- Zero ---- */

static bool all_bytes(const unsigned char *block, size_t bytes, unsigned char value)
{
	for (size_t i = 0; i < bytes; i++)
		if (block[i] != value)
			return false;
	return true;
}

/* Random blocks of all small sizes; what calloc returns is zero, what is live stays. */
static void churn(struct random *random, size_t steps, size_t most, void (*between)(struct random *))
{
	enum { SLOTS = 1500 };
	unsigned char **slots = calloc(SLOTS, sizeof(*slots));
	size_t *sizes = calloc(SLOTS, sizeof(*sizes));

	MUST(slots != NULL && sizes != NULL);
	for (size_t i = 0; i < steps; i++) {
		/* In waves, so that whole pages become free. */
		size_t at = (i / 700 * 331 + random_below(random, 500)) % SLOTS;
		if (slots[at] != NULL) {
			MUST(all_bytes(slots[at], sizes[at], (unsigned char)at));
			quarry_free(slots[at]);
			slots[at] = NULL;
		} else {
			size_t size = 1 + random_below(random, random_below(random, 4) == 0 ? most : 600);
			bool zeroed = random_below(random, 2) == 0;
			slots[at] = zeroed ? quarry_calloc(1, size) : quarry_malloc(size);
			MUST(slots[at] != NULL && (!zeroed || all_bytes(slots[at], size, 0)));
			sizes[at] = size;
			memset(slots[at], (unsigned char)at, size);
		}
		if (between != NULL && i % 200 == 0)
			between(random);
	}
	for (size_t at = 0; at < SLOTS; at++) {
		MUST(slots[at] == NULL || all_bytes(slots[at], sizes[at], (unsigned char)at));
		quarry_free(slots[at]);
	}
	free(slots);
	free(sizes);
}

static void sweep_any(struct random *random)
{
	sweep_all((enum slab_sweep)random_below(random, 3), random_below(random, 2) == 0);
}

static void test_calloc_after_sweeps(void **state UNUSED)
{
	struct random random = random_start(21);

	configure(1024 * MIB, HOUR_MS);
	uint64_t refaulted = sweep_figures().refaulted_bytes;
	churn(&random, rounds(200000, 10000), 32832, sweep_any);
	assert_true(sweep_figures().refaulted_bytes > refaulted);
	assert_true(sweep_figures().refaulted_bytes <= sweep_figures().given_back_bytes);
}

static atomic_bool stop;

static void *sweeper(void *seed)
{
	struct random random = { .state = (uint64_t)(uintptr_t)seed };

	while (!atomic_load(&stop))
		sweep_any(&random);
	return NULL;
}

static void *churner(void *seed)
{
	struct random random = { .state = (uint64_t)(uintptr_t)seed };

	churn(&random, rounds(200000, 5000), 32832, NULL);
	return NULL;
}

/* The same while others sweep, with frees of all kinds under way. */
static void test_calloc_beside_sweeps(void **state UNUSED)
{
	pthread_t sweepers[2], churners[2];

	configure(1024 * MIB, HOUR_MS);
	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&sweepers[i], NULL, sweeper, (void *)(i + 5)), 0);
		assert_int_equal(pthread_create(&churners[i], NULL, churner, (void *)(i + 77)), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(churners[i], NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(sweepers[i], NULL);
}

/* ---- Fork ---- */

/* A child whose parent had a thread in the middle of a step: nobody is, here. */
static void sweep_in_child(void *argument UNUSED)
{
	uint64_t sweeps = sweep_figures().sweeps;

	alarm(10 * slowdown());
	/* As one that allocates. */
	purge_end_hold();
	/* What the parent's thread had begun is ended by slow paths, or begun anew. */
	for (uint64_t i = 0; sweep_figures().sweeps == sweeps; i++) {
		if (i % 100 == 0)
			sweep_note(32 * MIB, 32 * MIB);
		sweep_tick();
	}
	sweep_all(SLAB_SWEEP_ALL, false);
	MUST(sweep_figures().sweeps >= sweeps + 2);
}

static void test_fork_in_a_step(void **state UNUSED)
{
	pthread_t thread;

	configure(1024 * MIB, HOUR_MS);
	size_t count = rounds(80000, 20000);
	char **blocks = blocks_make(count);
	blocks_free_most(blocks, count);
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&thread, NULL, sweeper, (void *)3), 0);
	for (size_t i = 0; i < rounds(40, 5); i++) {
		sleep_ms((long)i % 3);
		ASSERT_EXITED(child_run(sweep_in_child, NULL, NULL, 0));
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	blocks_free_rest(blocks, count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_gives_back_what_is_free),
		cmocka_unit_test(test_aged),
		cmocka_unit_test(test_claimed_slab_is_passed_by),
		cmocka_unit_test(test_tear_down),
		cmocka_unit_test(test_decay),
		cmocka_unit_test(test_young_memory_stays),
		cmocka_unit_test(test_background),
		cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_huge_pages_stay),
		cmocka_unit_test(test_calloc_after_sweeps),
		cmocka_unit_test(test_calloc_beside_sweeps),
		cmocka_unit_test(test_fork_in_a_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

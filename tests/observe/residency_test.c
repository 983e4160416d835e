/* Where resident memory is: the parts add up to what the kernel says, in every mix, and each is what was done. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "block/sweep.h"
#include "observe/stats.h"
#include "os/fault.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/meta.h"
#include "space/purge.h"
#include "space/span.h"

#define HOUR_MS 3600000
#define RANGES_MAX 64
#define SLACK_PAGES 8

/* ---- What the kernel says ---- */

struct range {
	uintptr_t start;
	uintptr_t end;
	uintptr_t used_end;             /* nothing has ever been committed behind it */
};

static struct range ranges[RANGES_MAX];
static size_t range_count;

static bool is_ours(uintptr_t from, uintptr_t to)
{
	for (size_t i = 0; i < range_count; i++)
		if (from >= ranges[i].start && to <= ranges[i].end)
			return true;
	return false;
}

/* Reservations whole, and the arenas that lie in none. */
static void find_ranges(void)
{
	void *start;
	size_t bytes;

	range_count = 0;
	for (size_t i = 0; i < region_count(); i++) {
		const struct region *region = region_at(i);
		ranges[range_count++] = (struct range){ region->reservation, region->reservation + region->reservation_bytes,
			                                region->base + region->committed_bytes };
	}
	lock_take(&space_lock);
	for (size_t i = 0; meta_arena(i, &start, &bytes); i++) {
		uintptr_t from = (uintptr_t)start;
		if (!is_ours(from, from + bytes))
			ranges[range_count++] = (struct range){ from, from + bytes, from + bytes };
		MUST(range_count < RANGES_MAX);
	}
	lock_release(&space_lock);
}

static size_t by_mincore(void)
{
	size_t bytes = 0;

	for (size_t i = 0; i < range_count; i++)
		bytes += os_resident_bytes((void *)ranges[i].start, ranges[i].used_end - ranges[i].start);
	return bytes;
}

static size_t by_smaps(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[4096];
	uintptr_t from, to;
	bool ours = false;
	size_t kib, total = 0;

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			ours = is_ours(from, to);
		else if (ours && sscanf(line, "Rss: %zu kB", &kib) == 1)
			total += kib * 1024;
	}
	fclose(smaps);
	return total;
}

static bool is_near(uint64_t value, uint64_t expected, unsigned percent)
{
	uint64_t difference = value > expected ? value - expected : expected - value;

	/* A few pages that were only read (the kernel's page of zeros) are not in Rss. */
	return difference * 100 <= expected * percent || difference <= SLACK_PAGES * os_page_bytes();
}

static void assert_near(uint64_t value, uint64_t expected, unsigned percent)
{
	if (!is_near(value, expected, percent))
		fail_msg("%ju is not within %u %% of %ju", (uintmax_t)value, percent, (uintmax_t)expected);
}

static uint64_t sum_of_parts(const struct quarry_stats *stats)
{
	return stats->resident_live_bytes + stats->resident_waste_bytes + stats->resident_cached_bytes +
	       stats->resident_beside_bytes + stats->resident_free_page_bytes + stats->resident_span_bytes +
	       stats->resident_metadata_bytes;
}

/* Nothing else runs: the figures, after a comparison of their sum with both things that the kernel says. */
static struct quarry_stats measured(void)
{
	struct quarry_stats stats;
	size_t mincore = 0, smaps = 0;
	bool agree = false;

	/* Again, if the kernel has put a huge page in place between two looks. */
	for (int tries = 0; !agree && tries < 10; tries++) {
		stats_collect(&stats, true);
		assert_int_equal(stats.resident_measured, 1);
		assert_int_equal(sum_of_parts(&stats), stats.resident_bytes);
		find_ranges();
		mincore = by_mincore();
		smaps = by_smaps();
		agree = is_near(stats.resident_bytes, mincore, 2) && is_near(stats.resident_bytes, smaps, 2);
	}
	if (!agree)
		fail_msg("%ju is neither %zu (mincore) nor %zu (smaps)", (uintmax_t)stats.resident_bytes, mincore, smaps);
	/* No part is more than there is address space for it. */
	assert_true(stats.resident_live_bytes <= stats.live_bytes);
	assert_true(stats.resident_cached_bytes <= stats.cached_bytes);
	assert_true(stats.resident_beside_bytes + stats.resident_free_page_bytes <= stats.slab_bytes);
	assert_true(stats.resident_span_bytes <= stats.dirty_bytes + stats.clean_bytes);
	return stats;
}

/* As estimated, when all that lives was touched. */
static void assert_estimate(unsigned percent)
{
	struct quarry_stats estimate, truth = measured();

	stats_collect(&estimate, false);
	assert_int_equal(estimate.resident_measured, 0);
	assert_int_equal(sum_of_parts(&estimate), estimate.resident_bytes);
	assert_near(estimate.resident_bytes, truth.resident_bytes, percent);
	assert_near(estimate.resident_live_bytes, truth.resident_live_bytes, percent);
}

/* ---- Mixes ---- */

static char **table_of(size_t count)
{
	char **blocks = calloc(count, sizeof(*blocks));

	assert_non_null(blocks);
	return blocks;
}

static char **make(size_t count, size_t least, size_t most)
{
	struct random random = { .state = 5 };
	char **blocks = table_of(count);

	for (size_t i = 0; i < count; i++) {
		size_t bytes = least + random_below(&random, most - least + 1);
		blocks[i] = quarry_malloc(bytes);
		assert_non_null(blocks[i]);
		memset(blocks[i], 1, quarry_usable_size(blocks[i]));
	}
	return blocks;
}

static void free_some(char **blocks, size_t count, size_t (*kept)(size_t))
{
	for (size_t i = 0; i < count; i++)
		if (blocks[i] != NULL && !kept(i)) {
			quarry_free(blocks[i]);
			blocks[i] = NULL;
		}
}

static size_t kept_none(size_t i UNUSED) { return 0; }
static size_t kept_every_second(size_t i) { return i % 2; }
static size_t kept_one_in_twenty(size_t i) { return i % 20 == 0; }
static size_t kept_in_runs(size_t i) { return i % 400 < 20; }

/* What each test starts from: nothing is given back unless somebody asks. */
static int quiet(void **state UNUSED)
{
	quarry_free(quarry_malloc(1));
	purge_configure(1024 * GIB, 0, UINT64_MAX, HOUR_MS);
	sweep_configure(HOUR_MS);
	quarry_trim(0);
	return 0;
}

static void test_nothing(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	struct quarry_stats stats = measured();

	assert_int_equal(stats.resident_live_bytes, 0);
	assert_int_equal(stats.resident_span_bytes, 0);
	assert_true(stats.resident_metadata_bytes > 0);
}

/* Blocks of one size: all live, then every second, then runs of them free. */
static void test_small(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	size_t count = rounds(100000, 20000);
	struct quarry_stats before = measured();
	char **blocks = make(count, 256, 256);
	struct quarry_stats full = measured();

	assert_near(full.resident_live_bytes - before.resident_live_bytes, count * 256, 2);
	assert_near(full.resident_metadata_bytes, full.metadata_bytes, 25);
	assert_true(full.resident_metadata_bytes >= full.metadata_bytes);
	assert_estimate(5);
	free_some(blocks, count, kept_every_second);
	quarry_trim(1024 * GIB);
	struct quarry_stats half = measured();
	assert_int_equal(half.resident_cached_bytes, 0);
	assert_near(half.resident_live_bytes - before.resident_live_bytes, count * 128, 2);
	assert_near(half.resident_beside_bytes, count * 128, 5);
	assert_true(half.resident_bytes <= full.resident_bytes);
	free_some(blocks, count, kept_none);
	free(blocks);
}

static void test_free_pages(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	size_t count = rounds(100000, 20000);
	char **blocks = make(count, 256, 256);
	struct quarry_stats full = measured();

	free_some(blocks, count, kept_in_runs);
	struct quarry_stats holes = measured();
	sweep_all(SLAB_SWEEP_LOOK, false);
	assert_near(holes.resident_free_page_bytes, sweep_figures().left_bytes, 2);
	/* Larger pages are seldom free of all blocks. */
	assert_true(holes.resident_free_page_bytes > count * 256 / (os_page_bytes() / 2048));
	assert_near(holes.resident_bytes, full.resident_bytes, 2);
	assert_estimate(5);
	/* Given back: gone from here, and beside it. */
	sweep_all(SLAB_SWEEP_ALL, false);
	struct quarry_stats swept = measured();
	assert_int_equal(swept.resident_free_page_bytes, 0);
	assert_near(holes.resident_bytes - swept.resident_bytes, holes.resident_free_page_bytes, 2);
	assert_near(swept.slab_away_bytes - holes.slab_away_bytes, holes.resident_free_page_bytes, 2);
	assert_int_equal(swept.resident_live_bytes, holes.resident_live_bytes);
	assert_true(swept.purge_step_count > holes.purge_step_count && swept.longest_step_ns >= swept.longest_purge_ns);
	assert_estimate(5);
	free_some(blocks, count, kept_none);
	free(blocks);
}

/* As far as they are touched; ends of spans are waste, or not there. */
static void test_large(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	SKIP_PAGES_AS_SLABS("large blocks fill their units");
	struct quarry_stats before = measured();
	char *untouched = quarry_malloc(64 * MIB);
	struct quarry_stats made = measured();

	assert_non_null(untouched);
	assert_true(made.resident_live_bytes - before.resident_live_bytes <= 64 * 1024);
	memset(untouched + 10 * MIB, 1, 6 * MIB);
	assert_near(measured().resident_live_bytes - before.resident_live_bytes, 6 * MIB, 2);
	memset(untouched, 1, 64 * MIB);
	struct quarry_stats touched = measured();
	assert_near(touched.resident_live_bytes - before.resident_live_bytes, 64 * MIB, 2);
	assert_estimate(5);

	quarry_free(untouched);
	struct quarry_stats freed = measured();
	assert_near(freed.resident_span_bytes, 64 * MIB, 2);
	assert_int_equal(freed.resident_live_bytes, before.resident_live_bytes);
	assert_estimate(5);
	uint64_t steps = freed.purge_step_count;
	quarry_trim(0);
	struct quarry_stats trimmed = measured();
	assert_int_equal(trimmed.resident_span_bytes, 0);
	assert_true(trimmed.purge_step_count > steps && trimmed.longest_step_ns >= trimmed.longest_purge_ns);
	assert_near(freed.resident_bytes - trimmed.resident_bytes, 64 * MIB, 2);

	/* In dirty spans the rest of a block's last unit is there, too. */
	size_t wide_count = 100;
	untouched = quarry_malloc(64 * MIB);
	memset(untouched, 1, 64 * MIB);
	quarry_free(untouched);
	char **wide = table_of(wide_count);
	for (size_t i = 0; i < wide_count; i++)
		wide[i] = quarry_malloc(2 * UNIT_BYTES + 1);
	struct quarry_stats reused = measured();
	assert_near(reused.resident_live_bytes + reused.resident_waste_bytes - before.resident_live_bytes,
	            wide_count * 3 * UNIT_BYTES, 2);
	assert_true(reused.resident_waste_bytes > wide_count * UNIT_BYTES / 2);
	free_some(wide, wide_count, kept_none);
	free(wide);
	quarry_trim(0);

	/* 1 byte more than whole pages, odd starts: a page of each is partly waste. */
	size_t count = rounds(400, 100);
	char **blocks = table_of(count);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = quarry_malloc(140000);
		memset(blocks[i], 1, 140000);
	}
	struct quarry_stats odd = measured();
	assert_true(odd.resident_waste_bytes > 0 && odd.resident_waste_bytes <= count * 2 * os_page_bytes());
	assert_true(odd.resident_live_bytes >= count * 140000);
	assert_estimate(5);
	free_some(blocks, count, kept_none);
	free(blocks);
}

/* Grown by moved pages: mappings of their own, places that were left behind. */
static void test_moved(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("large blocks fill their units");
	SKIP_EMULATED("mincore says nothing of large ranges");
	enum { COUNT = 20 };
	char *blocks[COUNT];
	struct quarry_stats before = measured();

	for (size_t i = 0; i < COUNT; i++) {
		blocks[i] = quarry_malloc(300000);
		memset(blocks[i], 1, 300000);
	}
	for (int round = 0; round < 4; round++)
		for (size_t i = 0; i < COUNT; i++) {
			size_t bytes = quarry_usable_size(blocks[i]);
			blocks[i] = quarry_realloc(blocks[i], bytes * 3 / 2);
			memset(blocks[i] + bytes, 1, bytes / 2);
		}
	struct quarry_stats grown = measured();
	assert_near(grown.resident_live_bytes - before.resident_live_bytes, grown.live_bytes - before.live_bytes, 3);
	for (size_t i = 0; i < COUNT; i++)
		quarry_free(blocks[i]);
	measured();
	quarry_trim(0);
	assert_int_equal(measured().resident_span_bytes, 0);
}

/* Everything at once, in all states. */
static void test_mixture(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	SKIP_COUNTED_PAGES("what is weighed by granules is not in them");
	size_t count = rounds(60000, 6000);
	char **small = make(count, 1, 600);
	char **medium = make(count / 8, 600, 33000);
	char **large = make(count / 300, 33000, 700000);

	measured();
	assert_estimate(5);
	free_some(small, count, kept_one_in_twenty);
	free_some(medium, count / 8, kept_one_in_twenty);
	free_some(large, count / 300, kept_every_second);
	struct quarry_stats stats = measured();
	assert_true(stats.resident_beside_bytes > 0 && stats.resident_free_page_bytes > 0);
	assert_true(stats.resident_cached_bytes > 0 && stats.resident_span_bytes > 0 && stats.resident_waste_bytes > 0);
	/* Blocks that wait in magazines may never have been touched. */
	assert_estimate(25);
	quarry_trim(0);
	assert_int_equal(measured().resident_free_page_bytes, 0);
	/* Into the places of what went. */
	char **again = make(count / 2, 1, 2000);
	measured();
	assert_estimate(5);
	free_some(again, count / 2, kept_none);
	free_some(small, count, kept_none);
	free_some(medium, count / 8, kept_none);
	free_some(large, count / 300, kept_none);
	measured();
	free(again);
	free(small);
	free(medium);
	free(large);
}

/* ---- Threads ---- */

#define THREAD_COUNT 3

static pthread_barrier_t barrier;

static void *fill_magazines(void *argument)
{
	char *blocks[500];
	size_t bytes = 64 + (uintptr_t)argument * 16;

	for (size_t i = 0; i < 500; i++)
		memset(blocks[i] = quarry_malloc(bytes), 1, bytes);
	for (size_t i = 0; i < 500; i++)
		quarry_free(blocks[i]);
	/* So many frees have closed the magazine. */
	for (size_t i = 0; i < 32; i++)
		blocks[i] = quarry_malloc(bytes);
	for (size_t i = 0; i < 32; i++)
		quarry_free(blocks[i]);
	for (size_t i = 0; i < 100; i++)
		quarry_free(quarry_malloc(i * 50));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void test_threads_that_sleep(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	pthread_t threads[THREAD_COUNT];

	pthread_barrier_init(&barrier, NULL, THREAD_COUNT + 1);
	for (uintptr_t i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fill_magazines, (void *)i), 0);
	pthread_barrier_wait(&barrier);
	quarry_trim(0);
	struct quarry_stats stats = measured();
	assert_true(stats.resident_cached_bytes >= THREAD_COUNT * 64 * 30);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	measured();
}

static atomic_bool stop;

static void *churn(void *seed)
{
	struct random random = { .state = (uintptr_t)seed };
	void *slots[300] = { NULL };

	while (!atomic_load(&stop)) {
		size_t slot = random_below(&random, 300);
		quarry_free(slots[slot]);
		slots[slot] = quarry_malloc(random_below(&random, random_below(&random, 30) == 0 ? 200000 : 3000));
		memset(slots[slot], 1, quarry_usable_size(slots[slot]));
	}
	for (size_t i = 0; i < 300; i++)
		quarry_free(slots[i]);
	return NULL;
}

/* Within what moves: no part turns around, and nothing is counted that can't be. */
static void test_beside_others(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	pthread_t threads[THREAD_COUNT];

	atomic_store(&stop, false);
	for (uintptr_t i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < rounds(300, 20); i++) {
		struct quarry_stats stats;
		stats_collect(&stats, true);
		MUST(stats.resident_measured == 1);
		struct quarry_stats after;
		stats_collect(&after, false);
		MUST(stats.resident_bytes <= after.committed_bytes + after.metadata_bytes + after.page_map_bytes + 4 * MIB);
		MUST(sum_of_parts(&stats) == stats.resident_bytes);
		if (i % 10 == 0)
			quarry_trim(0);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	measured();
}

/* ---- Without the kernel's word ---- */

static void test_refused(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
#ifdef QUARRY_DEBUG
	char **blocks = make(10000, 100, 1000);
	struct quarry_stats stats, estimate, truth = measured();

	/* At once, and in the middle. */
	for (uint64_t skip = 0; skip < 40; skip += 13) {
		os_fault_set(OS_CALL_RESIDENT, (struct os_fault){ .skip = skip, .per_million = OS_FAULT_ALWAYS, .error = EAGAIN });
		stats_collect(&stats, true);
		os_fault_reset(1);
		assert_int_equal(stats.resident_measured, 0);
		assert_near(stats.resident_bytes, truth.resident_bytes, 10);
		stats_collect(&estimate, false);
		assert_int_equal(stats.resident_bytes, estimate.resident_bytes);
		assert_int_equal(stats.resident_live_bytes, estimate.resident_live_bytes);
	}
	free_some(blocks, 10000, kept_none);
	free(blocks);
#else
	print_message("# skipped: debug builds alone can make a call fail\n");
	skip();
#endif
}

/* With huge pages more is there than anybody touched: in live blocks' ends, and in spans that count as clean. */
static void test_huge_pages(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	char **blocks = make(2000, 1000, 100000);

	measured();
	free_some(blocks, 2000, kept_every_second);
	measured();
	quarry_trim(0);
	measured();
	free_some(blocks, 2000, kept_none);
	free(blocks);
}

static void test_public(void **state UNUSED)
{
	SKIP_EMULATED("mincore says nothing of large ranges");
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	assert_int_equal(quarry_stats_measured(&stats), 0);
	assert_int_equal(stats.resident_measured, 1);
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(stats.resident_measured, 0);
	stats.struct_bytes = 0;
	errno = 0;
	assert_int_equal(quarry_stats_measured(&stats), -1);
	assert_int_equal(errno, EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing, quiet),
		cmocka_unit_test_setup(test_small, quiet),
		cmocka_unit_test_setup(test_free_pages, quiet),
		cmocka_unit_test_setup(test_large, quiet),
		cmocka_unit_test_setup(test_moved, quiet),
		cmocka_unit_test_setup(test_mixture, quiet),
		cmocka_unit_test_setup(test_threads_that_sleep, quiet),
		cmocka_unit_test_setup(test_beside_others, quiet),
		cmocka_unit_test_setup(test_refused, quiet),
		cmocka_unit_test_setup(test_public, quiet),
		cmocka_unit_test_setup(test_huge_pages, quiet),
	};

	/* What is there is what was touched. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

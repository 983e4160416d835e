/* Every call to the system that can fail is made to fail, each in turn: the first of its kind in a short run, the second, and
 * so on until the run makes no more; and many at random. Whatever fails, a request gives a block that holds what it should,
 * or NULL with ENOMEM; and when the system grants again everything works, and nothing is missing. Each run is a child of its own.
 * Debug builds alone can make calls fail. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>

#include "base/memcheck.h"
#include "block/sweep.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "os/fault.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "space/region.h"
#include "space/span.h"
#include "thread/life.h"
#include "thread/sample.h"
#include "thread/scavenger.h"

#ifdef QUARRY_DEBUG

#define BLOCKS 48

struct block {
	unsigned char *at;
	size_t bytes;
	unsigned char value;
};

static void check(const struct block *block)
{
	for (size_t i = 0; i < block->bytes; i = i < 64 || i + 64 >= block->bytes ? i + 1 : i + 997)
		MUST(block->at[i] == block->value);
}

/* `bytes` were asked for; errno was 0 before. */
static void keep(struct block *block, unsigned char *at, size_t bytes, unsigned char value, bool zeroed)
{
	if (at == NULL) {
		MUST(errno == ENOMEM);
		return;
	}
	MUST(errno == 0);
	for (size_t i = 0; zeroed && i < bytes; i += i < 64 || i + 64 >= bytes ? 1 : 997)
		MUST(at[i] == 0);
	memset(at, value, bytes);
	*block = (struct block){ at, bytes, value };
}

static void drop(struct block *block)
{
	if (block->at == NULL)
		return;
	check(block);
	quarry_free(block->at);
	block->at = NULL;
}

static void resize(struct block *block, size_t bytes)
{
	unsigned char *at;

	if (block->at == NULL)
		return;
	errno = 0;
	at = quarry_realloc(block->at, bytes);
	if (at == NULL) {
		MUST(errno == ENOMEM);
		check(block);
		return;
	}
	MUST(errno == 0);
	block->at = at;
	block->bytes = min_size(block->bytes, bytes);
	check(block);
	block->bytes = bytes;
	memset(at, block->value, bytes);
}

static const size_t sizes[] = { 1, 24, 100, 1000, 5000, 20000, 33000, 70000, 300000, 500000, 48, 3000 };

/* All entry points, blocks of all kinds, what gives memory back, and figures. */
static void work(size_t rounds, uint64_t seed)
{
	struct random random = { .state = seed * 0x9e3779b97f4a7c15u | 1 };
	struct block blocks[BLOCKS] = { 0 };
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	for (size_t i = 0; i < rounds; i++) {
		struct block *block = &blocks[random_below(&random, BLOCKS)];
		size_t bytes = sizes[random_below(&random, sizeof(sizes) / sizeof(sizes[0]))];
		size_t what = random_below(&random, 10);
		void *at = NULL;

		if (what < 2) {
			resize(block, bytes + random_below(&random, bytes));
			continue;
		}
		drop(block);
		errno = 0;
		if (what < 5) {
			keep(block, quarry_malloc(bytes), bytes, (unsigned char)(i | 1), false);
		} else if (what < 7) {
			keep(block, quarry_calloc(1, bytes), bytes, (unsigned char)(i | 1), true);
		} else if (what == 7) {
			keep(block, quarry_memalign((size_t)64 << i % 12, bytes), bytes, (unsigned char)(i | 1), false);
		} else if (what == 8) {
			int error = quarry_posix_memalign(&at, 128, bytes);
			MUST(errno == 0 && error == (at == NULL ? ENOMEM : 0));
			errno = error;
			keep(block, at, bytes, (unsigned char)(i | 1), false);
		} else if (i % 4 == 0) {
			quarry_trim(random_below(&random, 2) * MIB);
			MUST(quarry_stats_measured(&stats) == 0);
		} else {
			sweep_all((enum slab_sweep)(i % 3), false);
			purge_background();
		}
	}
	for (size_t i = 0; i < BLOCKS; i++)
		drop(&blocks[i]);
}

/* A block that grows where it can't in place, and is moved by its page tables; much that is free in one piece. */
static void grow(void)
{
	struct block blocks[6] = { 0 };

	for (size_t i = 0; i < 5; i++) {
		errno = 0;
		if (i == 0)
			keep(&blocks[0], quarry_malloc(300 * KIB), 300 * KIB, 1, false);
		else
			resize(&blocks[0], (300 + 200 * i) * KIB);
		errno = 0;
		keep(&blocks[i + 1], quarry_malloc(100 * KIB), 100 * KIB, (unsigned char)(i + 2), false);
	}
	resize(&blocks[0], 400 * KIB);
	for (size_t i = 0; i < 6; i++)
		drop(&blocks[i]);
	char *large = quarry_malloc(5 * MIB);
	if (large != NULL)
		large[0] = 1;
	quarry_free(large);
	quarry_trim(0);
	errno = 0;
	keep(&blocks[0], quarry_calloc(1, 5 * MIB), 5 * MIB, 3, true);
	drop(&blocks[0]);
	quarry_trim(0);
}

static void *work_in_thread(void *argument)
{
	work(100, (uintptr_t)argument);
	return NULL;
}

/* Units of all regions, committed at some time: free again, all of them. */
static size_t free_units(void)
{
	return span_dirty_units() + span_clean_units();
}

static size_t committed_units(void)
{
	size_t units = 0;

	for (size_t i = 0; i < region_count(); i++)
		units += atomic_load(&region_at(i)->committed_bytes) >> UNIT_LOG2;
	return units;
}

/* ---- Kinds of runs ---- */

struct run {
	const char *options;
	size_t rounds;
	bool threads;
	bool leaks;
};

static const struct run runs[] = {
	{ .options = "", .rounds = 120 },
	{ .options = "scavenger=off,decay_ms=0", .rounds = 60, .threads = true },
	{ .options = "guard=on,guard_leaks=on,on_error=warn,report=/dev/null", .rounds = 60, .leaks = true },
	{ .options = "guard=on,guard_with=protection,on_error=warn,report=/dev/null", .rounds = 30 },
	{ .options = "sample=5,on_error=warn", .rounds = 120 },
};

/* Under valgrind a run takes a second. */
#define VERY_SLOW (slowdown() > 10)
#define RUNS (VERY_SLOW ? 1 : sizeof(runs) / sizeof(runs[0]))

static const struct run *run;

static void configure(void)
{
	static struct options options;
	char buffer[1024];
	struct text complaints = text_over(buffer, sizeof(buffer));

	options_reset(&options);
	MUST(options_parse(&options, run->options, OPTION_FROM_PROGRAM, &complaints) == 0);
	quarry_free(NULL);
	purge_configure(MIB, 25, UINT64_MAX, options.decay_ms);
	sweep_configure(options.decay_ms);
	scavenger_configure(false, 1000, false);
	if (options.guard || options.sample > 0) {
		guarded_configure(&options);
		if (!guarded_on)
			return;
		report_configure(&(struct report_settings){ .path = options.report, .go_on = true });
		if (options.guard)
			life_without_heaps();
		else
			sample_configure(options.sample);
	}
}

static pthread_barrier_t barrier;

static void *stand_by(void *argument UNUSED)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void look_for_leaks(void)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	MUST(pthread_create(&thread, NULL, stand_by, NULL) == 0);
	pthread_barrier_wait(&barrier);
	(void)quarry_leak_check();
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

static void busy(void)
{
	work(run->rounds, 7);
	grow();
	if (run->threads) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, work_in_thread, (void *)3) == 0) {
			work(100, 5);
			pthread_join(thread, NULL);
		}
	}
	/* A sanitizer's own memory is too much to search. */
	if (run->leaks && !ADDRESS_SANITIZED && !THREAD_SANITIZED)
		look_for_leaks();
}

/* After the system has granted everything again: nothing is missing. `holes`: what was refused may leave some. */
static void check_nothing_is_missing(bool holes)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	os_fault_reset(1);
	/* Works again, to the same extent. */
	struct block blocks[sizeof(sizes) / sizeof(sizes[0])] = { 0 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		errno = 0;
		keep(&blocks[i], quarry_malloc(sizes[i]), sizes[i], 9, false);
		MUST(blocks[i].at != NULL);
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		drop(&blocks[i]);
	quarry_trim(0);
	quarry_trim(0);
	MUST(quarry_stats(&stats) == 0);
	MUST(stats.live_blocks == 0 && stats.live_bytes == 0);
	MUST(stats.slab_count == 0 && stats.cached_bytes == 0 && stats.large_span_bytes == 0 && stats.dirty_bytes == 0);
	MUST(holes || (span_used_units() == 0 && committed_units() == free_units()));
	lock_take(&space_lock);
	MUST(span_is_valid());
	MUST(holes || span_ranges() == 0);
	lock_release(&space_lock);
}

/* ---- Each in turn ---- */

struct turn {
	enum os_call call;
	uint64_t skip;
	uint64_t count;                 /* 0: from then on all */
	int error;
};

enum { NONE_LEFT = 3 };

static void run_with_fault(void *argument)
{
	const struct turn *turn = argument;

	os_fault_reset(1);
	os_fault_set(turn->call, (struct os_fault){ .skip = turn->skip, .count = turn->count, .per_million = OS_FAULT_ALWAYS,
	                                            .error = turn->error });
	configure();
	busy();
	uint64_t failed = os_fault_failed(turn->call);
	/* What could not be mapped anew is, after ENOMEM, taken for unmapped. */
	check_nothing_is_missing(turn->call == OS_CALL_REMAP_FRESH);
	if (failed == 0)
		_exit(NONE_LEFT);
}

/* `step`: 1 for all. */
static size_t each_in_turn(enum os_call call, uint64_t count, int error, uint64_t step)
{
	static char said[4096];
	size_t children = 0;

	for (uint64_t skip = 0;; skip += step) {
		struct turn turn = { call, skip, count, error };
		int status = child_run(run_with_fault, &turn, said, sizeof(said));
		if (WIFEXITED(status) && WEXITSTATUS(status) == NONE_LEFT)
			break;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("%s: call %d, after %ju, %ju of them: wait status %#x, said %s", run->options, (int)call,
			         (uintmax_t)skip, (uintmax_t)count, (unsigned)status, said);
		children++;
	}
	return children;
}

/* All by `make soak` and on request; else each so many-th, which no loop of the runs is a multiple of. */
#define SAMPLE_STEP (16 * slowdown())

static void test_each_in_turn(void **state UNUSED)
{
	bool all = getenv("QUARRY_TEST_ALL") != NULL;
	size_t children = 0;

	for (size_t i = 0; i < RUNS; i++) {
		run = &runs[i];
		for (int call = 0; call < OS_CALL_COUNT; call++) {
			if (VERY_SLOW && call != OS_CALL_COMMIT && call != OS_CALL_PURGE && call != OS_CALL_MOVE)
				continue;
			children += each_in_turn((enum os_call)call, 1, ENOMEM, all ? 1 : 1 + SAMPLE_STEP);
			children += each_in_turn((enum os_call)call, call % 2 * 5, call % 3 == 0 ? EAGAIN : ENOMEM, all ? 1 : SAMPLE_STEP);
		}
	}
	print_message("# %zu runs\n", children);
}

/* ---- At random ---- */

static void run_at_random(void *argument)
{
	struct random random = { .state = *(uint64_t *)argument * 0x9e3779b97f4a7c15u | 1 };
	static const uint32_t chances[] = { 0, 10000, 100000, 500000 };
	static const int errors[] = { ENOMEM, EAGAIN, EPERM, ENOSYS, EINVAL };

	os_fault_reset(random_next(&random));
	for (int call = 0; call < OS_CALL_COUNT; call++)
		os_fault_set((enum os_call)call, (struct os_fault){ .per_million = chances[random_below(&random, 4)],
		                                                    .error = errors[random_below(&random, 5)] });
	configure();
	busy();
	check_nothing_is_missing(true);
}

static void test_at_random(void **state UNUSED)
{
	static char said[4096];

	for (uint64_t seed = 1; seed <= max_size(40 / slowdown(), VERY_SLOW ? 2 : 8); seed++) {
		run = &runs[seed % RUNS];
		int status = child_run(run_at_random, &seed, said, sizeof(said));
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("%s: seed %ju: wait status %#x, said %s", run->options, (uintmax_t)seed, (unsigned)status, said);
	}
}

/* Frees need no memory: blocks between live ones are freed while nothing at all is granted, and all are found again. Purges
 * don't either. */
static void free_without_memory(void *argument UNUSED)
{
	static void *blocks[3000];

	run = &runs[0];
	configure();
	purge_configure(GIB, 0, UINT64_MAX, 3600000);
	for (size_t i = 0; i < 3000; i++)
		MUST((blocks[i] = quarry_malloc(60000)) != NULL);
	uint64_t calls = os_fault_calls(OS_CALL_COMMIT);
	os_fault_set(OS_CALL_COMMIT, (struct os_fault){ .per_million = OS_FAULT_ALWAYS, .error = ENOMEM });
	for (size_t i = 0; i < 3000; i += 2)
		quarry_free(blocks[i]);
	MUST(span_dirty_units() == 1500);
	for (size_t i = 0; i < 1500; i++)
		MUST((blocks[2 * i] = quarry_malloc(60000)) != NULL);
	for (size_t i = 0; i < 3000; i += 2)
		quarry_free(blocks[i]);
	quarry_trim(0);
	MUST(span_dirty_units() == 0);
	for (size_t i = 1; i < 3000; i += 2)
		quarry_free(blocks[i]);
	quarry_trim(0);
	MUST(os_fault_calls(OS_CALL_COMMIT) == calls);
	MUST(span_used_units() == 0 && span_ranges() == 0 && committed_units() == free_units());
	os_fault_reset(1);
}

static void test_free_without_memory(void **state UNUSED)
{
	ASSERT_EXITED(child_run(free_without_memory, NULL, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_free_without_memory),
		cmocka_unit_test(test_each_in_turn),
		cmocka_unit_test(test_at_random),
	};

	alarm(300 * slowdown());
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	return debug_builds_only();
}

#endif

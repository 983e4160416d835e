/* Memory that can't be had: the limit of the process holds to the byte, what is free serves before anything fails, and the
 * program's handler is asked. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>

#include "base/memcheck.h"
#include "block/sizeclass.h"
#include "os/fault.h"
#include "quarry/quarry.h"
#include "space/limit.h"
#include "space/purge.h"
#include "space/span.h"

#define LIMIT_BYTES (32 * MIB)
/* Descriptors of free spans may be taken over it. */
#define FOR_FREES_BYTES (64 * KIB)

static struct quarry_stats figures(void)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	MUST(quarry_stats_measured(&stats) == 0);
	return stats;
}

/* Whatever earlier tests have made of metadata stays, and counts. */
static int limited(void **state UNUSED)
{
	quarry_set_oom_handler(NULL, NULL);
	quarry_free(quarry_malloc(1));
	quarry_trim(0);
	limit_configure(LIMIT_BYTES);
	return 0;
}

static int unlimited(void **state UNUSED)
{
	limit_configure(0);
	quarry_set_oom_handler(NULL, NULL);
	return 0;
}

static void assert_within(void)
{
	assert_true(figures().resident_bytes <= LIMIT_BYTES + FOR_FREES_BYTES);
}

/* In a list; each block points to the one before. Large ones count by their units. */
static void **take_all(size_t size, size_t *total)
{
	void **last = NULL, **block;

	*total = 0;
	errno = 0;
	while ((block = quarry_malloc(size)) != NULL) {
		memset(block, 0xee, size);
		*block = last;
		last = block;
		*total += size > SMALL_BYTES_MAX ? ROUND_UP(size, UNIT_BYTES) : quarry_usable_size(block);
	}
	assert_int_equal(errno, ENOMEM);
	return last;
}

static void give_all(void **last)
{
	while (last != NULL) {
		void **next = *last;
		quarry_free(last);
		last = next;
	}
}

/* What was free in one size serves the next one: nearly all of the limit is to be had each time. */
static void test_all_is_to_be_had(void **state UNUSED)
{
	static const size_t sizes[] = { 24, 100000, 3000, 30000, 4 * MIB, 100, 64 * KIB };

	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			size_t total;
			/* Under valgrind a million blocks take too long. */
			if (slowdown() > 10 && sizes[i] < 1000)
				continue;
			void **blocks = take_all(sizes[i], &total);
			print_message("# %zu KiB in blocks of %zu, %ju resident\n", total / KIB, sizes[i],
			              (uintmax_t)figures().resident_bytes / KIB);
			assert_within();
			assert_true(total >= LIMIT_BYTES / 5 * 4);
			assert_null(quarry_calloc(1, LIMIT_BYTES));
			give_all(blocks);
			assert_within();
		}
	quarry_trim(0);
	assert_int_equal(span_used_units(), 0);
}

/* A request of more than the limit fails, and nothing goes back for it. */
static void test_impossible(void **state UNUSED)
{
	char *block = quarry_malloc(8 * MIB);

	memset(block, 1, 8 * MIB);
	quarry_free(block);
	size_t dirty = span_dirty_units();
	assert_true(dirty > 0);
	errno = 0;
	assert_null(quarry_malloc(hide(LIMIT_BYTES + 1)));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(span_dirty_units(), dirty);
}

/* Pages that move are there once: a block of more than half of the limit grows. */
static void test_moves(void **state UNUSED)
{
	/* valgrind knows no MREMAP_DONTUNMAP: what would move is copied. */
	if (MEMCHECK_BUILD) {
		print_message("# skipped: memcheck moves nothing\n");
		skip();
	}
	char *block = quarry_malloc(18 * MIB);
	char *wall = NULL;

	assert_non_null(block);
	memset(block, 7, 18 * MIB);
	wall = quarry_malloc(100000);
	block = quarry_realloc(block, 24 * MIB);
	assert_non_null(block);
	assert_within();
	for (size_t i = 0; i < 18 * MIB; i += 4096)
		assert_int_equal(block[i], 7);
	memset(block, 8, 24 * MIB);
	assert_within();
	errno = 0;
	assert_null(quarry_realloc(block, hide(LIMIT_BYTES)));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(block[24 * MIB - 1], 8);
	quarry_free(block);
	quarry_free(wall);
	quarry_trim(0);
	assert_int_equal(span_used_units(), 0);
}

/* ---- Several threads ---- */

static _Atomic bool over;
static _Atomic size_t refusals;

#define SLOTS 300

static void *churn(void *argument)
{
	struct random random = { .state = (uint64_t)(uintptr_t)argument * 0x9e3779b97f4a7c15u | 1 };
	char *blocks[SLOTS] = { NULL };

	for (size_t i = 0; i < rounds(160000, 4000); i++) {
		char **place = &blocks[random_below(&random, SLOTS)];
		size_t size = random_below(&random, 4) == 0 ? random_below(&random, 400 * KIB) : random_below(&random, 20000);
		if (random_below(&random, 3) == 0 && *place != NULL) {
			char *block = quarry_realloc(*place, size + 1);
			*place = block != NULL ? block : *place;
		} else {
			quarry_free(*place);
			errno = 0;
			*place = quarry_malloc(size + 1);
			MUST(*place != NULL ? errno == 0 : errno == ENOMEM);
			if (*place != NULL)
				memset(*place, 1, size + 1);
			else
				atomic_fetch_add(&refusals, 1);
		}
	}
	for (size_t i = 0; i < SLOTS; i++)
		quarry_free(blocks[i]);
	return NULL;
}

static void *watch(void *argument UNUSED)
{
	while (!atomic_load(&over)) {
		lock_take(&space_lock);
		bool within = limit_excess(0) <= FOR_FREES_BYTES;
		lock_release(&space_lock);
		MUST(within);
		sleep_ms(1);
	}
	return NULL;
}

static void test_threads(void **state UNUSED)
{
	enum { THREADS = 4 };
	pthread_t threads[THREADS], watcher;

	atomic_store(&over, false);
	assert_int_equal(pthread_create(&watcher, NULL, watch, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&over, true);
	pthread_join(watcher, NULL);
	print_message("# %zu refusals\n", atomic_load(&refusals));
	assert_true(atomic_load(&refusals) > 0);
	assert_within();
	quarry_trim(0);
	assert_int_equal(figures().live_blocks, 0);
	assert_int_equal(figures().dirty_bytes, 0);
}

/* ---- The handler ---- */

struct cache {
	void *blocks[64];
	size_t count;
	size_t calls;
	size_t last_size;
	bool asks;
};

static bool drop_one(size_t size, void *context)
{
	struct cache *cache = context;

	cache->calls++;
	cache->last_size = size;
	errno = EIO;
	if (cache->asks) {
		/* Not a call of this for it. */
		size_t calls = cache->calls;
		errno = 0;
		MUST(quarry_malloc(hide(LIMIT_BYTES / 2)) == NULL && errno == ENOMEM);
		MUST(cache->calls == calls);
		quarry_free(cache->blocks[--cache->count]);
		void *small = quarry_malloc(100);
		MUST(small != NULL);
		quarry_free(small);
		return true;
	}
	if (cache->count == 0)
		return false;
	quarry_free(cache->blocks[--cache->count]);
	return true;
}

static void fill_cache(struct cache *cache)
{
	*cache = (struct cache){ .count = 0 };
	while ((cache->blocks[cache->count] = quarry_malloc(MIB)) != NULL)
		cache->count++;
	assert_true(cache->count > 24 && cache->count < 32);
}

static void test_handler(void **state UNUSED)
{
	static struct cache cache;
	size_t total;

	fill_cache(&cache);
	quarry_set_oom_handler(drop_one, &cache);
	errno = 4711;
	char *block = quarry_malloc(5 * MIB);
	assert_non_null(block);
	assert_int_equal(errno, 4711);
	assert_true(cache.calls >= 4 && cache.calls <= 6);
	assert_int_equal(cache.last_size, 5 * MIB);
	quarry_free(block);

	/* Small blocks, by each entry; the last call is the one that gives up. */
	size_t had = cache.count;
	cache.calls = 0;
	void **blocks = take_all(500, &total);
	assert_int_equal(cache.count, 0);
	assert_int_equal(cache.calls, had + 1);
	assert_int_equal(cache.last_size, 500);
	assert_null(quarry_calloc(100, 5000));
	assert_int_equal(cache.last_size, 500000);
	assert_null(quarry_memalign(65536, 200000));
	assert_int_equal(cache.last_size, 200000);
	give_all(blocks);

	/* None for what can't be had in any way. */
	cache.calls = 0;
	assert_null(quarry_malloc(hide((size_t)1 << 60)));
	assert_null(quarry_malloc(hide(LIMIT_BYTES + 1)));
	assert_null(quarry_calloc(hide(SIZE_MAX / 2), 3));
	assert_int_equal(cache.calls, 0);

	/* It asks itself. */
	quarry_trim(0);
	quarry_set_oom_handler(NULL, NULL);
	fill_cache(&cache);
	cache.asks = true;
	quarry_set_oom_handler(drop_one, &cache);
	assert_non_null(block = quarry_malloc(2 * MIB));
	quarry_free(block);
	while (cache.count > 0)
		quarry_free(cache.blocks[--cache.count]);
}

static size_t called;

static bool kernel_gives_in(size_t size UNUSED, void *context UNUSED)
{
	called++;
#ifdef QUARRY_DEBUG
	os_fault_reset(1);
#endif
	return true;
}

/* The same when it is the kernel that refuses. */
static void test_kernel_refuses(void **state UNUSED)
{
#ifdef QUARRY_DEBUG
	void *blocks[2];

	unlimited(NULL);
	quarry_set_oom_handler(kernel_gives_in, NULL);
	for (size_t i = 0; i < 2; i++) {
		os_fault_set(OS_CALL_COMMIT, (struct os_fault){ .per_million = OS_FAULT_ALWAYS, .error = ENOMEM });
		assert_non_null(blocks[i] = quarry_malloc(200 * MIB));
		assert_int_equal(called, i + 1);
	}
	quarry_free(blocks[0]);
	quarry_free(blocks[1]);
#else
	(void)kernel_gives_in;
	print_message("# skipped: debug builds alone can make a call fail\n");
	skip();
#endif
}

/* Free spans of which none is large enough are uncommitted, and what they were charged with serves. */
static void test_what_is_free_is_uncommitted(void **state UNUSED)
{
	char *pieces[64];

	quarry_free(quarry_malloc(1));
	purge_configure(1024 * GIB, 0, UINT64_MAX, 3600000);
	for (size_t i = 0; i < 64; i++) {
		assert_non_null(pieces[i] = quarry_malloc(4 * MIB));
		pieces[i][0] = 1;
	}
	for (size_t i = 0; i < 64; i += 2)
		quarry_free(pieces[i]);
	assert_true(figures().uncommitted_bytes <= 4 * MIB);
	assert_true(purge_for(8 * MIB));
	assert_int_equal(span_dirty_units(), 0);
	/* 16 runs at most where no limit is known. */
	assert_true(figures().uncommitted_bytes >= 15 * 2 * MIB);
	for (size_t i = 1; i < 64; i += 2)
		quarry_free(pieces[i]);
	purge_configure(16 * MIB, 25, UINT64_MAX, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* The first: nothing is uncommitted yet. */
		cmocka_unit_test(test_what_is_free_is_uncommitted),
		cmocka_unit_test_setup_teardown(test_all_is_to_be_had, limited, unlimited),
		cmocka_unit_test_setup_teardown(test_impossible, limited, unlimited),
		cmocka_unit_test_setup_teardown(test_moves, limited, unlimited),
		cmocka_unit_test_setup_teardown(test_threads, limited, unlimited),
		cmocka_unit_test_setup_teardown(test_handler, limited, unlimited),
		cmocka_unit_test_setup_teardown(test_kernel_refuses, limited, unlimited),
	};

	alarm(60 * slowdown());
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Trimming: what it says went back is what went back, and nobody else notices. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "api/trim.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/region.h"
#include "space/space.h"

#define BLOCK_COUNT ((size_t)4096)

/* Memory of the regions that is there. */
static size_t resident(void)
{
	size_t bytes = 0;

	for (size_t i = 0; i < region_count(); i++)
		bytes += os_resident_bytes((void *)region_at(i)->base, region_at(i)->committed_bytes);
	return bytes;
}

static void fill(void **blocks, size_t count, size_t size)
{
	for (size_t i = 0; i < count; i++) {
		blocks[i] = quarry_malloc(size);
		MUST(blocks[i] != NULL);
		memset(blocks[i], 0xa5, size);
	}
}

static void test_nothing_to_give(void **state UNUSED)
{
	quarry_free(quarry_malloc(100));
	quarry_trim(0);
	size_t before = resident();

	assert_int_equal(quarry_trim(0), 0);
	assert_int_equal(resident(), before);
}

/* For small, medium and large blocks: the answer is the difference of what is resident, to the byte. */
static void test_tells_the_truth(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	static const size_t sizes[] = { 16, 100, 1000, 4000, 5000, 30000, 40000, 70000, 1000000 };
	static void *blocks[BLOCK_COUNT];

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		size_t count = min_size(BLOCK_COUNT, 8 * MIB / sizes[s]);
		quarry_trim(0);
		fill(blocks, count, sizes[s]);
		size_t full = resident();
		assert_true(full >= count * sizes[s]);
		assert_int_equal(quarry_trim(0), full - resident());

		/* Every second block: in small sizes no page becomes free, in large ones whole spans. */
		for (size_t i = 0; i < count; i += 2)
			quarry_free(blocks[i]);
		full = resident();
		size_t said = quarry_trim(0);
		assert_int_equal(said, full - resident());
		if (sizes[s] >= 2 * os_page_bytes())
			assert_true(said >= count / 2 * (sizes[s] - 2 * os_page_bytes()));

		for (size_t i = 1; i < count; i += 2) {
			for (size_t at = 0; at < sizes[s]; at += 61)
				assert_int_equal(((unsigned char *)blocks[i])[at], 0xa5);
			quarry_free(blocks[i]);
		}
		full = resident();
		said = quarry_trim(0);
		assert_int_equal(said, full - resident());
		assert_true(said > 0);
		assert_int_equal(quarry_trim(0), 0);
	}
}

static void test_keeps_what_is_asked(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	quarry_trim(0);
	void *block = quarry_malloc(8 * MIB);
	memset(block, 1, 8 * MIB);
	quarry_free(block);
	size_t before = resident();
	size_t said = quarry_trim(4 * MIB);

	assert_int_equal(said, before - resident());
	assert_in_range(said, 4 * MIB - UNIT_BYTES, 4 * MIB + 2 * UNIT_BYTES);
	assert_int_equal(quarry_trim(4 * MIB), 0);
	assert_in_range(quarry_trim(0), 4 * MIB - 2 * UNIT_BYTES, 4 * MIB + UNIT_BYTES);
}

/* Each part alone returns its own, and nothing else. */
static void test_purge_in_parts(void **state UNUSED)
{
	SKIP_EMULATED("its own memory is counted with the program's");
	SKIP_PAGES_AS_SLABS("none is free beside blocks");
	static void *blocks[BLOCK_COUNT];
	static const unsigned wrong[] = { 0, 8, 15, ~0u };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		errno = 0;
		assert_int_equal(quarry_purge(wrong[i]), 0);
		assert_int_equal(errno, EINVAL);
	}
	quarry_trim(0);
	fill(blocks, BLOCK_COUNT, 1000);
	for (size_t i = 0; i < BLOCK_COUNT; i++)
		if (i % 128 != 0)
			quarry_free(blocks[i]);
	void *large = quarry_malloc(2 * MIB);
	memset(large, 1, 2 * MIB);
	quarry_free(large);
	errno = 0;
	size_t full = resident();
	assert_int_equal(quarry_purge(QUARRY_PURGE_CACHED), 0);
	assert_int_equal(resident(), full);
	size_t said = quarry_purge(QUARRY_PURGE_PAGES);
	assert_int_equal(said, full - resident());
	assert_true(said > MIB);
	assert_int_equal(quarry_purge(QUARRY_PURGE_PAGES | QUARRY_PURGE_CACHED), 0);
	full = resident();
	said = quarry_purge(QUARRY_PURGE_SPANS);
	/* The rest of a large block's last unit, which nobody has touched, counts. */
	assert_in_range(said, full - resident(), full - resident() + UNIT_BYTES);
	assert_true(said >= 2 * MIB);
	assert_int_equal(quarry_purge(QUARRY_PURGE_ALL), 0);
	assert_int_equal(errno, 0);
	for (size_t i = 0; i < BLOCK_COUNT; i += 128)
		quarry_free(blocks[i]);
}

/* A page that went back is zero to calloc and usable to malloc. */
static void test_dropped_pages_come_back(void **state UNUSED)
{
	static void *blocks[BLOCK_COUNT];

	fill(blocks, BLOCK_COUNT, 256);
	for (size_t i = 0; i < BLOCK_COUNT; i++)
		if (i % 64 != 0)
			quarry_free(blocks[i]);
	assert_true(quarry_trim(0) > 0);
	for (size_t i = 0; i < BLOCK_COUNT; i++)
		if (i % 64 != 0) {
			unsigned char *block = blocks[i] = quarry_calloc(1, 256);
			for (size_t at = 0; at < 256; at++)
				assert_int_equal(block[at], 0);
			memset(block, 0xa5, 256);
		}
	for (size_t i = 0; i < BLOCK_COUNT; i++) {
		assert_int_equal(((unsigned char *)blocks[i])[255], 0xa5);
		quarry_free(blocks[i]);
	}
}

/* ---- While others allocate ---- */

static _Atomic bool stop;
static _Atomic size_t failures;

static void *allocate_all_the_time(void *argument UNUSED)
{
	void *blocks[64];
	static const size_t sizes[] = { 8000, 3000, 30000, 16, 40000, 500 };

	for (size_t round = 0; !atomic_load(&stop); round++) {
		size_t size = sizes[round % (sizeof(sizes) / sizeof(sizes[0]))];
		for (size_t i = 0; i < 64; i++) {
			blocks[i] = quarry_malloc(size);
			if (blocks[i] == NULL)
				atomic_fetch_add(&failures, 1);
			else
				memset(blocks[i], (int)i, size);
		}
		for (size_t i = 0; i < 64; i++) {
			MUST(blocks[i] == NULL || ((unsigned char *)blocks[i])[size - 1] == i);
			quarry_free(blocks[i]);
		}
	}
	return NULL;
}

static void test_nobody_notices(void **state UNUSED)
{
	pthread_t threads[3];

	atomic_store(&stop, false);
	atomic_store(&failures, 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_all_the_time, NULL), 0);
	for (size_t i = 0, count = rounds(4000, 40); i < count; i++)
		quarry_trim(0);
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&failures), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_give),
		cmocka_unit_test(test_tells_the_truth),
		cmocka_unit_test(test_keeps_what_is_asked),
		cmocka_unit_test(test_purge_in_parts),
		cmocka_unit_test(test_dropped_pages_come_back),
		cmocka_unit_test(test_nobody_notices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

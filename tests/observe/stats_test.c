/* Figures: every one moves by what was done, the sums agree, and each way to print them tells the same. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "block/large.h"
#include "observe/stats.h"
#include "quarry/quarry.h"
#include "space/space.h"

static struct quarry_stats collected(void)
{
	struct quarry_stats stats;

	memset(&stats, 0xee, sizeof(stats));
	stats_collect(&stats, false);
	return stats;
}

/* What must hold at any time when nothing else runs. */
static void assert_sums(void)
{
	struct class_stats classes[CLASS_COUNT];
	struct quarry_stats stats;
	uint64_t slabs = 0, live = 0, live_bytes = 0, cached_bytes = 0, free_bytes = 0, capacity = 0;

	stats_collect_classes(&stats, classes);
	for (size_t i = 0; i < CLASS_COUNT; i++) {
		assert_int_equal(classes[i].size, size_classes[i].size);
		slabs += classes[i].slabs;
		live += classes[i].live;
		live_bytes += classes[i].live * classes[i].size;
		cached_bytes += classes[i].cached * classes[i].size;
		free_bytes += classes[i].free * classes[i].size;
		capacity += classes[i].slabs * size_classes[i].units * UNIT_BYTES;
	}
	assert_int_equal(slabs, stats.slab_count);
	assert_int_equal(capacity, stats.slab_bytes);
	assert_int_equal(live + stats.live_large_blocks, stats.live_blocks);
	assert_int_equal(live_bytes + stats.live_large_bytes, stats.live_bytes);
	assert_int_equal(cached_bytes, stats.cached_bytes);
	assert_int_equal(free_bytes, stats.free_in_slab_bytes);
	assert_int_equal(stats.slab_bytes + stats.large_span_bytes + stats.dirty_bytes + stats.clean_bytes,
	                 stats.committed_bytes);
	assert_in_range(live_bytes + cached_bytes + free_bytes, 0, stats.slab_bytes);
	assert_in_range(stats.live_large_bytes, 0, stats.large_span_bytes);
	assert_in_range(stats.committed_bytes, 0, stats.reserved_bytes);
	assert_in_range(stats.heap_pooled_count, 0, stats.heap_count);
}

/* First of all tests. */
static void test_nothing_yet(void **state UNUSED)
{
	struct quarry_stats stats = collected();

	assert_int_equal(stats.struct_bytes, sizeof(stats));
	assert_int_equal(stats.live_blocks, 0);
	assert_int_equal(stats.live_bytes, 0);
	assert_sums();
}

static void test_small(void **state UNUSED)
{
	enum { COUNT = 5000 };
	static void *blocks[COUNT];
	struct class_stats classes[CLASS_COUNT];
	struct quarry_stats before = collected();
	struct quarry_stats after;
	uint64_t bytes = 0;

	for (size_t i = 0; i < COUNT; i++) {
		blocks[i] = quarry_malloc(i % 2000 + 1);
		bytes += quarry_usable_size(blocks[i]);
	}
	after = collected();
	assert_int_equal(after.live_blocks - before.live_blocks, COUNT);
	assert_int_equal(after.live_bytes - before.live_bytes, bytes);
	assert_int_equal(after.live_large_blocks, before.live_large_blocks);
	assert_true(after.slab_count > before.slab_count);
	assert_true(after.metadata_bytes > before.metadata_bytes);
	assert_sums();

	for (size_t i = 0; i < COUNT; i++)
		quarry_free(blocks[i]);
	/* So many frees have closed the magazine; a refill fills it again. */
	quarry_free(quarry_malloc(100));
	after = collected();
	assert_int_equal(after.live_blocks, before.live_blocks);
	assert_int_equal(after.live_bytes, before.live_bytes);
	assert_true(after.cached_bytes > before.cached_bytes);
	assert_sums();

	/* One class, followed exactly. */
	unsigned class_index = size_class_of(224);
	for (size_t i = 0; i < 1000; i++)
		blocks[i] = quarry_malloc(224);
	for (size_t i = 0; i < 1000; i += 4)
		quarry_free(blocks[i]);
	quarry_free(quarry_malloc(224));
	stats_collect_classes(&after, classes);
	assert_int_equal(classes[class_index].live, 750);
	assert_true(classes[class_index].cached > 0);
	assert_true(classes[class_index].cached + classes[class_index].free >= 250);
	assert_true(classes[class_index].slabs >= 1000 / (UNIT_BYTES / 224));
	for (size_t i = 0; i < 1000; i++)
		if (i % 4 != 0)
			quarry_free(blocks[i]);
}

static void test_trim_moves_cached_to_free(void **state UNUSED)
{
	void *keeper = quarry_malloc(48);

	quarry_free(quarry_malloc(48));
	assert_true(collected().cached_bytes >= 48);
	quarry_trim(0);
	assert_int_equal(collected().cached_bytes, 0);
	assert_true(collected().free_in_slab_bytes >= 48);
	assert_sums();
	quarry_free(keeper);
}

static void test_large(void **state UNUSED)
{
	struct quarry_stats before = collected();
	char *block = quarry_malloc(10 * MIB + 1);
	size_t size = quarry_usable_size(block);
	struct quarry_stats after = collected();

	memset(block, 1, size);
	assert_int_equal(after.live_large_blocks - before.live_large_blocks, 1);
	assert_int_equal(after.live_large_bytes - before.live_large_bytes, size);
	assert_int_equal(after.live_blocks - before.live_blocks, 1);
	assert_int_equal(after.live_bytes - before.live_bytes, size);
	assert_true(after.large_span_bytes - before.large_span_bytes >= size);
	assert_true(after.region_count >= 1);
	/* Three bits a unit for all of a region, and the entries of what is committed. */
	assert_true(after.page_map_bytes >= 3 * (after.reserved_bytes / UNIT_BYTES) / 8 +
	                                            after.committed_bytes / UNIT_BYTES * sizeof(uintptr_t));
	assert_sums();

	quarry_free(block);
	struct quarry_stats freed = collected();
	assert_int_equal(freed.live_bytes, before.live_bytes);
	assert_int_equal(freed.live_large_blocks, before.live_large_blocks);
	assert_int_equal(freed.large_span_bytes, before.large_span_bytes);
	assert_true(freed.dirty_bytes >= 10 * MIB);
	assert_sums();

	assert_true(quarry_trim(0) >= 10 * MIB);
	struct quarry_stats trimmed = collected();
	assert_int_equal(trimmed.dirty_bytes, 0);
	assert_true(trimmed.clean_bytes + trimmed.uncommitted_bytes >= freed.clean_bytes + freed.dirty_bytes);
	assert_true(trimmed.purged_bytes - freed.purged_bytes >= 10 * MIB);
	assert_true(trimmed.purge_count > freed.purge_count);
	/* Whole pieces of it have gone with their charge. */
	assert_true(trimmed.uncommitted_bytes >= 8 * MIB);
	assert_int_equal(trimmed.committed_bytes + trimmed.uncommitted_bytes, freed.committed_bytes + freed.uncommitted_bytes);
	assert_sums();
}

static void test_moved(void **state UNUSED)
{
	struct quarry_stats before = collected();
	char *block = quarry_malloc(4 * MIB);
	memset(block, 1, 4 * MIB);
	/* In the way. */
	char *next = quarry_malloc(4 * MIB);
	char *moved = quarry_realloc(block, 64 * MIB);
	struct quarry_stats after = collected();

	assert_non_null(moved);
	assert_int_equal(after.live_large_blocks - before.live_large_blocks, 2);
	assert_sums();
	bool by_pages = large_moved_bytes() > 0;
	assert_int_equal(after.moved_bytes, large_moved_bytes());
	if (by_pages)
		assert_true(after.moved_bytes - before.moved_bytes >= 4 * MIB);
	quarry_free(moved);
	quarry_free(next);
	if (!by_pages) {
		print_message("# skipped: this kernel or tool does not move pages\n");
		skip();
	}
}

/* ---- Heaps ---- */

static pthread_barrier_t barrier;

static void *allocate_much(void *unused UNUSED)
{
	for (size_t i = 0; i < 2000; i++)
		quarry_free(quarry_malloc(1 + i));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void test_heaps(void **state UNUSED)
{
	struct quarry_stats before = collected();
	pthread_t threads[2];

	pthread_barrier_init(&barrier, NULL, 3);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_much, NULL), 0);
	pthread_barrier_wait(&barrier);
	struct quarry_stats running = collected();
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	struct quarry_stats after = collected();
	pthread_barrier_destroy(&barrier);

	/* Theirs, and the shared heap, which served their first requests. */
	assert_int_equal(running.heap_count - before.heap_count, 3);
	assert_int_equal(running.heap_pooled_count, before.heap_pooled_count);
	assert_int_equal(after.heap_count, running.heap_count);
	assert_int_equal(after.heap_pooled_count - before.heap_pooled_count, 2);
	assert_sums();
}

/* ---- The versioned structure ---- */

static void test_fill(void **state UNUSED)
{
	void *block = quarry_malloc(1);
	struct {
		struct quarry_stats stats;
		char behind[64];
	} user;
	char untouched[sizeof(user)];

	memset(untouched, 0x77, sizeof(untouched));
	memset(&user, 0x77, sizeof(user));
	user.stats.struct_bytes = 0;
	assert_int_equal(stats_fill(&user.stats, false), -EINVAL);
	user.stats.struct_bytes = sizeof(user.stats) + 1;
	assert_int_equal(stats_fill(&user.stats, false), -EINVAL);
	assert_memory_equal(&user.stats.live_bytes, untouched, sizeof(user) - sizeof(size_t));

	/* A program of a version that knew four fields. */
	size_t old = offsetof(struct quarry_stats, live_large_blocks);
	user.stats.struct_bytes = old;
	assert_int_equal(stats_fill(&user.stats, false), 0);
	assert_int_equal(user.stats.struct_bytes, old);
	assert_int_equal(user.stats.live_bytes, quarry_usable_size(block));
	assert_memory_equal(&user.stats.live_large_blocks, untouched, sizeof(user) - old);

	user.stats.struct_bytes = sizeof(user.stats);
	assert_int_equal(stats_fill(&user.stats, false), 0);
	assert_int_equal(user.stats.struct_bytes, sizeof(user.stats));
	struct quarry_stats expected = collected();
	assert_memory_equal(&user.stats, &expected, sizeof(expected));
	assert_memory_equal(user.behind, untouched, sizeof(user.behind));

	user.stats.struct_bytes = 0;
	errno = 0;
	assert_int_equal(quarry_stats(&user.stats), -1);
	assert_int_equal(errno, EINVAL);
	quarry_free(block);
}

/* ---- JSON ---- */

/* Reads one value; NULL if it isn't one. Strings need no escapes here. */
static const char *json_value(const char *at);

static const char *json_space(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

static const char *json_string(const char *at)
{
	size_t length = *at == '"' ? strcspn(at + 1, "\"\\") : 0;

	return *at == '"' && at[1 + length] == '"' ? at + length + 2 : NULL;
}

/* The items between `open` and `close`, with commas between them. */
static const char *json_items(const char *at, char close, bool named)
{
	at = json_space(at + 1);
	if (*at == close)
		return at + 1;
	for (;;) {
		if (named) {
			at = json_string(json_space(at));
			if (at == NULL || *(at = json_space(at)) != ':')
				return NULL;
			at++;
		}
		at = json_value(json_space(at));
		if (at == NULL)
			return NULL;
		at = json_space(at);
		if (*at == close)
			return at + 1;
		if (*at++ != ',')
			return NULL;
	}
}

static const char *json_value(const char *at)
{
	size_t digits = strspn(at, "0123456789");

	if (*at == '{')
		return json_items(at, '}', true);
	if (*at == '[')
		return json_items(at, ']', false);
	if (*at == '"')
		return json_string(at);
	if (strncmp(at, "true", 4) == 0)
		return at + 4;
	if (strncmp(at, "false", 5) == 0)
		return at + 5;
	return digits == 0 || (digits > 1 && *at == '0') ? NULL : at + digits;
}

static uint64_t json_number(const char *json, const char *name)
{
	char key[64];

	snprintf(key, sizeof(key), "\"%s\": ", name);
	const char *at = strstr(json, key);
	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, 10);
}

static char json[64 * 1024];

static void test_json(void **state UNUSED)
{
	void *blocks[3] = { quarry_malloc(100), quarry_malloc(MIB), quarry_aligned_alloc(1024, 1024) };
	size_t length = stats_json(json, sizeof(json));
	struct quarry_stats stats = collected();

	assert_in_range(length, 1000, sizeof(json) - 1);
	assert_int_equal(strlen(json), length);
	assert_ptr_equal(json_value(json), json + length);
	assert_non_null(strstr(json, "\"version\": \"0.1.0\""));
#define ASSERT_FIELD(name) assert_int_equal(json_number(json, #name), stats.name)
	ASSERT_FIELD(live_bytes);
	ASSERT_FIELD(live_blocks);
	ASSERT_FIELD(live_large_bytes);
	ASSERT_FIELD(live_large_blocks);
	ASSERT_FIELD(cached_bytes);
	ASSERT_FIELD(free_in_slab_bytes);
	ASSERT_FIELD(slab_bytes);
	ASSERT_FIELD(slab_count);
	ASSERT_FIELD(large_span_bytes);
	ASSERT_FIELD(dirty_bytes);
	ASSERT_FIELD(clean_bytes);
	ASSERT_FIELD(metadata_bytes);
	ASSERT_FIELD(page_map_bytes);
	ASSERT_FIELD(committed_bytes);
	ASSERT_FIELD(reserved_bytes);
	ASSERT_FIELD(region_count);
	ASSERT_FIELD(heap_count);
	ASSERT_FIELD(heap_pooled_count);
	ASSERT_FIELD(purged_bytes);
	ASSERT_FIELD(purge_count);
	ASSERT_FIELD(moved_bytes);
	ASSERT_FIELD(slab_away_bytes);
	ASSERT_FIELD(refaulted_bytes);
	ASSERT_FIELD(sweep_count);
	ASSERT_FIELD(retained_max_bytes);
	ASSERT_FIELD(longest_purge_ns);
	ASSERT_FIELD(uncommitted_bytes);
	ASSERT_FIELD(purge_step_count);
	ASSERT_FIELD(longest_step_ns);
	ASSERT_FIELD(refaulted_span_bytes);
	ASSERT_FIELD(resident_bytes);
	ASSERT_FIELD(resident_live_bytes);
	ASSERT_FIELD(resident_waste_bytes);
	ASSERT_FIELD(resident_cached_bytes);
	ASSERT_FIELD(resident_beside_bytes);
	ASSERT_FIELD(resident_free_page_bytes);
	ASSERT_FIELD(resident_span_bytes);
	ASSERT_FIELD(resident_metadata_bytes);
	ASSERT_FIELD(resident_measured);
	ASSERT_FIELD(pressure_level);
	ASSERT_FIELD(pressure_looks);
	ASSERT_FIELD(guarded_bytes);
	ASSERT_FIELD(guarded_blocks);
	ASSERT_FIELD(guarded_page_bytes);
	ASSERT_FIELD(guarded_freed_blocks);
	ASSERT_FIELD(guarded_freed_bytes);
	ASSERT_FIELD(guarded_table_bytes);

	size_t rows = 0;
	for (const char *at = json; (at = strstr(at, "{\"size\": ")) != NULL; at++) {
		assert_int_equal(json_number(at, "size"), size_classes[rows].size);
		bool aligned = rows >= CLASS_FIRST_ALIGNED;
		assert_memory_equal(strstr(at, "\"aligned\": ") + 11, aligned ? "true" : "false", 4 + !aligned);
		bool has_one = rows == size_class_of(100) || rows == CLASS_ALIGNED_1024;
		assert_int_equal(json_number(at, "live"), has_one);
		rows++;
	}
	assert_int_equal(rows, CLASS_COUNT);
	for (size_t i = 0; i < 3; i++)
		quarry_free(blocks[i]);
}

static void test_json_cut(void **state UNUSED)
{
	static char cut[64 * 1024];
	size_t length = stats_json(json, sizeof(json));

	assert_int_equal(stats_json(NULL, 0), length);
	for (size_t capacity = 1; capacity <= length + 1; capacity += capacity < 40 ? 1 : 997) {
		memset(cut, '#', sizeof(cut));
		assert_int_equal(stats_json(cut, capacity), length);
		assert_memory_equal(cut, json, capacity - 1);
		assert_int_equal(cut[capacity - 1], 0);
		assert_int_equal(cut[capacity], '#');
	}
	memset(cut, '#', sizeof(cut));
	assert_int_equal(stats_json(cut, length + 1), length);
	assert_string_equal(cut, json);
}

/* ---- For people ---- */

/* Standard error is a datagram socket meanwhile: each write is a message of its own. */
static ssize_t printed(char *buffer, size_t capacity)
{
	int sockets[2];
	int saved = dup(STDERR_FILENO);

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets), 0);
	dup2(sockets[1], STDERR_FILENO);
	stats_print();
	dup2(saved, STDERR_FILENO);
	ssize_t length = recv(sockets[0], buffer, capacity - 1, MSG_DONTWAIT);
	ssize_t more = recv(sockets[0], buffer + capacity - 1, 1, MSG_DONTWAIT);
	close(saved);
	close(sockets[0]);
	close(sockets[1]);
	assert_int_equal(more, -1);
	return length;
}

static void test_print(void **state UNUSED)
{
	static char output[8192];
	char expected[100];
	void *block = quarry_malloc(3 * MIB + 1);
	ssize_t length = printed(output, sizeof(output));
	size_t lines = 0;

	assert_in_range(length, 400, 2999);
	output[length] = 0;
	assert_int_equal(output[length - 1], '\n');
	for (const char *line = output; *line != 0; line = strchr(line, '\n') + 1) {
		assert_memory_equal(line, "quarry: ", 8);
		lines++;
	}
	assert_in_range(lines, 20, 32);
	snprintf(expected, sizeof(expected), "of it large    %zu bytes (3 MiB) in 1 blocks\n",
	         quarry_usable_size(block));
	assert_non_null(strstr(output, expected));
	quarry_free(block);
}

/* ---- Others allocate meanwhile ---- */

static _Atomic bool churning;

static void *churn(void *seed)
{
	uint64_t random = (uintptr_t)seed;
	void *slots[300] = { NULL };

	while (atomic_load(&churning)) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		size_t slot = (random >> 33) % 300;
		quarry_free(slots[slot]);
		slots[slot] = quarry_malloc((random >> 20) % 64 == 0 ? 70000 : (random >> 50) % 3000);
	}
	for (size_t i = 0; i < 300; i++)
		quarry_free(slots[i]);
	return NULL;
}

static void test_others_allocate(void **state UNUSED)
{
	enum { THREADS = 3, SLOTS_BYTES_MAX = 300 * 80000, ROUNDS = 200 };
	struct quarry_stats before = collected();
	pthread_t threads[THREADS];

	atomic_store(&churning, true);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (size_t i = 0; i < ROUNDS; i++) {
		struct class_stats classes[CLASS_COUNT];
		struct quarry_stats stats;
		stats_collect_classes(&stats, classes);
		assert_in_range(stats.live_blocks - before.live_blocks, 0, 2 * THREADS * 300);
		assert_in_range(stats.live_bytes, before.live_bytes, before.live_bytes + 2 * THREADS * SLOTS_BYTES_MAX);
		assert_in_range(stats.slab_bytes, 0, stats.committed_bytes);
		for (size_t k = 0; k < CLASS_COUNT; k++) {
			size_t blocks = classes[k].live + classes[k].cached + classes[k].free;
			assert_in_range(blocks * classes[k].size, 0,
			                classes[k].slabs * size_classes[k].units * UNIT_BYTES);
		}
	}
	atomic_store(&churning, false);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(collected().live_blocks, before.live_blocks);
	assert_int_equal(collected().live_bytes, before.live_bytes);
	assert_sums();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_yet),
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_trim_moves_cached_to_free),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_cut),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_heaps),
		cmocka_unit_test(test_others_allocate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

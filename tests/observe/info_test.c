/* glibc's figures: they grow by what is allocated, the formulas that programs use come out, the XML is well-formed. */
#include "model/support.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "observe/info.h"
#include "observe/stats.h"
#include "quarry/quarry.h"

static void assert_consistent(struct mallinfo2 info)
{
	assert_int_equal(info.arena, info.uordblks + info.fordblks);
	assert_int_equal(info.hblks, 0);
	assert_int_equal(info.hblkhd, 0);
	assert_int_equal(info.usmblks, 0);
	assert_in_range(info.fsmblks + info.keepcost, 0, info.fordblks);
	assert_in_range(info.fsmblks, info.smblks * 16, info.smblks * SMALL_BYTES_MAX);
}

/* 100 MB in blocks of `size`, or what fewer of them take: seen as such, and gone when they are freed. */
static void check_growth(size_t size)
{
	size_t count = rounds(100 * 1000 * 1000 / size, min_size(100 * 1000 * 1000 / size, 20000));
	void **blocks = calloc(count, sizeof(*blocks));
	struct mallinfo2 before = info_mallinfo2();
	size_t usable = 0;

	assert_consistent(before);
	for (size_t i = 0; i < count; i++) {
		blocks[i] = quarry_malloc(size);
		assert_non_null(blocks[i]);
		usable += quarry_usable_size(blocks[i]);
	}
	struct mallinfo2 full = info_mallinfo2();
	assert_consistent(full);
	assert_int_equal(full.uordblks - before.uordblks, usable);
	size_t most = max_size(count * size / 100 * 134, size > SMALL_BYTES_MAX ? count * ROUND_UP(size, os_page_bytes()) : 0);
	assert_in_range(full.uordblks - before.uordblks, count * size, most);
	for (size_t i = 0; i < count; i++)
		quarry_free(blocks[i]);
	struct mallinfo2 after = info_mallinfo2();
	assert_consistent(after);
	assert_int_equal(after.uordblks, before.uordblks);
	free(blocks);
}

static void test_growth(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("large blocks fill their units");
	static const size_t sizes[] = { 16, 24, 100, 1000, 4096, 32832, 32833, 100 * 1000, 10 * 1000 * 1000,
		                        100 * 1000 * 1000 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_growth(sizes[i]);
}

static void test_free_blocks(void **state UNUSED)
{
	enum { COUNT = 3000 };
	static void *blocks[COUNT];

	quarry_trim(0);
	struct mallinfo2 before = info_mallinfo2();
	assert_int_equal(before.smblks, 0);
	assert_int_equal(before.keepcost, 0);
	for (size_t i = 0; i < COUNT; i++)
		blocks[i] = quarry_malloc(200);
	for (size_t i = 0; i < COUNT; i += 2)
		quarry_free(blocks[i]);
	/* So many frees have closed the magazine; a refill fills it again. */
	quarry_free(quarry_malloc(200));
	struct mallinfo2 half = info_mallinfo2();
	size_t block_bytes = quarry_usable_size(blocks[1]);
	assert_consistent(half);
	assert_true(half.smblks > 0);
	assert_int_equal(half.fsmblks, half.smblks * block_bytes);
	/* Every other block is free, in slabs that the rest keeps. */
	assert_true(half.ordblks + half.smblks >= before.ordblks + COUNT / 2);
	assert_true(half.fordblks >= COUNT / 2 * block_bytes);

	/* What a trim gives back was in keepcost, and is in nothing afterwards. */
	char *large = quarry_malloc(8 * MIB);
	memset(large, 1, 8 * MIB);
	quarry_free(large);
	struct mallinfo2 dirty = info_mallinfo2();
	assert_consistent(dirty);
	assert_true(dirty.keepcost >= 8 * MIB);
	quarry_trim(0);
	struct mallinfo2 trimmed = info_mallinfo2();
	assert_consistent(trimmed);
	assert_int_equal(trimmed.keepcost, 0);
	assert_int_equal(trimmed.uordblks, dirty.uordblks);
	assert_true(trimmed.arena + 8 * MIB <= dirty.arena);
	for (size_t i = 1; i < COUNT; i += 2)
		quarry_free(blocks[i]);
}

static void test_mallinfo(void **state UNUSED)
{
	void *small = quarry_malloc(100);
	struct mallinfo2 wide = info_mallinfo2();
	struct mallinfo info = info_mallinfo();

	assert_int_equal(info.arena, wide.arena);
	assert_int_equal(info.ordblks, wide.ordblks);
	assert_int_equal(info.smblks, wide.smblks);
	assert_int_equal(info.hblks, wide.hblks);
	assert_int_equal(info.hblkhd, wide.hblkhd);
	assert_int_equal(info.usmblks, wide.usmblks);
	assert_int_equal(info.fsmblks, wide.fsmblks);
	assert_int_equal(info.uordblks, wide.uordblks);
	assert_int_equal(info.fordblks, wide.fordblks);
	assert_int_equal(info.keepcost, wide.keepcost);

	/* Nobody touches it, so it takes no memory. */
	void *huge = quarry_malloc((size_t)INT_MAX + MIB);
	if (huge != NULL) {
		assert_true(info_mallinfo2().uordblks > INT_MAX);
		assert_int_equal(info_mallinfo().uordblks, INT_MAX);
		assert_int_equal(info_mallinfo().arena, INT_MAX);
	}
	quarry_free(huge);
	quarry_free(small);
	if (huge == NULL) {
		print_message("# skipped: no address space for so large a block\n");
		skip();
	}
}

/* ---- XML ---- */

static char xml[64 * 1024];

static size_t write_xml(void)
{
	FILE *stream = fmemopen(xml, sizeof(xml), "w");

	assert_non_null(stream);
	assert_int_equal(info_write_xml(stream), 0);
	fclose(stream);
	return strlen(xml);
}

static const char *name_end(const char *at)
{
	while (isalnum((unsigned char)*at))
		at++;
	return at;
}

/* One document: a root, elements that close in order, attributes with values in quotes, only white space between
 * them. Returns behind it, NULL if it isn't well-formed. */
static const char *xml_element(const char *at)
{
	if (*at != '<')
		return NULL;
	const char *name = at + 1;
	const char *end = name_end(name);
	if (end == name)
		return NULL;
	for (at = end; *at == ' ';) {
		const char *equals = name_end(++at);
		if (equals == at || equals[0] != '=' || equals[1] != '"')
			return NULL;
		at = equals + 2 + strcspn(equals + 2, "\"<&");
		if (*at++ != '"')
			return NULL;
	}
	if (at[0] == '/' && at[1] == '>')
		return at + 2;
	if (*at++ != '>')
		return NULL;
	for (;;) {
		while (isspace((unsigned char)*at))
			at++;
		if (at[0] == '<' && at[1] == '/')
			break;
		if ((at = xml_element(at)) == NULL)
			return NULL;
	}
	size_t length = (size_t)(end - name);
	return strncmp(at + 2, name, length) == 0 && at[2 + length] == '>' ? at + length + 3 : NULL;
}

/* The value of an attribute of the first element at or behind `at` that starts with `start`. */
static uint64_t attribute(const char *at, const char *start, const char *name)
{
	char key[32];

	at = strstr(at, start);
	assert_non_null(at);
	snprintf(key, sizeof(key), " %s=\"", name);
	const char *value = strstr(at, key);
	assert_non_null(value);
	assert_true(value < strchr(at, '>'));
	return strtoull(value + strlen(key), NULL, 10);
}

static void test_xml(void **state UNUSED)
{
	SKIP_PAGES_AS_SLABS("large blocks fill their units");
	void *blocks[100];

	for (size_t i = 0; i < 100; i++)
		blocks[i] = quarry_malloc(i * i);
	void *aligned = quarry_aligned_alloc(512, 512);
	void *large = quarry_malloc(MIB);
	for (size_t i = 0; i < 100; i += 2)
		quarry_free(blocks[i]);

	size_t length = write_xml();
	assert_memory_equal(xml, "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n", 43);
	const char *end = xml_element(xml);
	assert_non_null(end);
	assert_string_equal(end, "\n");
	assert_true(end < xml + length);

	struct class_stats classes[CLASS_COUNT];
	struct quarry_stats stats;
	stats_collect_classes(&stats, classes);
	uint64_t count = 0, total = 0, rows = 0, expected_rows = 0;
	for (const char *at = xml; (at = strstr(at, "<size ")) != NULL; at++) {
		uint64_t to = attribute(at, "<size ", "to");
		assert_in_range(attribute(at, "<size ", "from"), 1, to);
		assert_int_equal(attribute(at, "<size ", "total"), attribute(at, "<size ", "count") * to);
		count += attribute(at, "<size ", "count");
		total += attribute(at, "<size ", "total");
		rows++;
	}
	for (size_t i = 0; i < CLASS_COUNT; i++)
		expected_rows += classes[i].cached + classes[i].free > 0;
	assert_int_equal(rows, expected_rows);
	/* Once in the heap, once for all of them. */
	const char *sums[] = { strstr(xml, "</sizes>"), strstr(xml, "</heap>") };
	for (size_t i = 0; i < 2; i++) {
		const char *at = sums[i];
		assert_int_equal(attribute(at, "<total type=\"fast\"", "size"), stats.cached_bytes);
		assert_int_equal(attribute(at, "<total type=\"rest\"", "size"),
		                 stats.free_in_slab_bytes + stats.dirty_bytes);
		assert_int_equal(attribute(at, "<total type=\"fast\"", "count") +
		                         attribute(at, "<total type=\"rest\"", "count"),
		                 count);
		assert_int_equal(total, stats.cached_bytes + stats.free_in_slab_bytes);
		assert_int_equal(attribute(at, "<system type=\"current\"", "size") + stats.live_large_bytes,
		                 info_mallinfo2().arena);
		assert_true(attribute(at, "<system type=\"current\"", "size") <=
		            attribute(at, "<system type=\"max\"", "size"));
		assert_int_equal(attribute(at, "<aspace type=\"total\"", "size"), stats.reserved_bytes);
		assert_int_equal(attribute(at, "<aspace type=\"mprotect\"", "size"), stats.committed_bytes);
	}
	assert_int_equal(attribute(sums[1], "<total type=\"mmap\"", "count"), 1);
	assert_int_equal(attribute(sums[1], "<total type=\"mmap\"", "size"), quarry_usable_size(large));

	for (size_t i = 1; i < 100; i += 2)
		quarry_free(blocks[i]);
	quarry_free(aligned);
	quarry_free(large);
}

/* The sizes of neighbouring classes leave no gap and don't overlap. */
static void test_xml_sizes(void **state UNUSED)
{
	void *first = quarry_malloc(16);
	void *second = quarry_malloc(32);
	void *third = quarry_malloc(48);

	write_xml();
	assert_non_null(strstr(xml, "<size from=\"1\" to=\"16\""));
	assert_non_null(strstr(xml, "<size from=\"17\" to=\"32\""));
	assert_non_null(strstr(xml, "<size from=\"33\" to=\"48\""));
	quarry_free(first);
	quarry_free(second);
	quarry_free(third);
}

/* ---- The stream ---- */

static void *try_lock(void *stream)
{
	bool locked = ftrylockfile(stream) == 0;

	if (locked)
		funlockfile(stream);
	return (void *)(uintptr_t)locked;
}

static bool others_can_lock(FILE *stream)
{
	pthread_t thread;
	void *locked = NULL;

	assert_int_equal(pthread_create(&thread, NULL, try_lock, stream), 0);
	pthread_join(thread, &locked);
	return locked != NULL;
}

static struct {
	FILE *stream;
	size_t writes;
	size_t writes_unlocked;
	size_t fail_from;               /* write; 0: none fails */
} cookie;

static ssize_t cookie_write(void *unused UNUSED, const char *bytes UNUSED, size_t length)
{
	cookie.writes++;
	cookie.writes_unlocked += others_can_lock(cookie.stream);
	if (cookie.fail_from == 0 || cookie.writes < cookie.fail_from)
		return (ssize_t)length;
	errno = cookie.writes == cookie.fail_from ? ENOSPC : EIO;
	return 0;
}

static int write_to_cookie(size_t fail_from)
{
	cookie.writes = cookie.writes_unlocked = 0;
	cookie.fail_from = fail_from;
	cookie.stream = fopencookie(NULL, "w", (cookie_io_functions_t){ .write = cookie_write });
	assert_non_null(cookie.stream);
	setvbuf(cookie.stream, NULL, _IONBF, 0);
	errno = 0;
	int result = info_write_xml(cookie.stream);
	int saved_errno = errno;
	assert_true(others_can_lock(cookie.stream));
	fclose(cookie.stream);
	errno = saved_errno;
	return result;
}

static void test_xml_in_one_piece(void **state UNUSED)
{
	assert_int_equal(write_to_cookie(0), 0);
	assert_in_range(cookie.writes, 10, 1000);
	assert_int_equal(cookie.writes_unlocked, 0);
}

static void test_xml_fails(void **state UNUSED)
{
	assert_int_equal(write_to_cookie(3), -1);
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(cookie.writes, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_free_blocks),
		cmocka_unit_test(test_mallinfo),
		cmocka_unit_test(test_xml),
		cmocka_unit_test(test_xml_sizes),
		cmocka_unit_test(test_xml_in_one_piece),
		cmocka_unit_test(test_xml_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Guarded blocks: where they stand, what faults, what is found at their free, and what is known of them. Each test runs in
 * a child with options of its own, where guard mode is started anew. */
#include "model/support.h"

#include <pthread.h>
#include <sys/mman.h>

#include "base/memcheck.h"
#include "guard/filter.h"
#include "guard/guarded.h"
#include "os/os.h"

static size_t page;

/* ---- A child with guard mode ---- */

struct body {
	const char *options;
	void (*run)(void);
};

static void body_run(void *argument)
{
	static struct options options;
	const struct body *body = argument;
	char buffer[1024];
	struct text complaints = text_over(buffer, sizeof(buffer));

	options_reset(&options);
	MUST(options_parse(&options, body->options, OPTION_FROM_PROGRAM, &complaints) == 0);
	guarded_configure(&options);
	MUST(guarded_on);
	body->run();
}

/* Must end well, and say nothing. */
static void quiet(const char *options, void (*run)(void))
{
	struct body body = { options, run };
	char said[4096];
	int status = child_run(body_run, &body, said, sizeof(said));

	assert_string_equal(said, "");
	ASSERT_EXITED(status);
}

/* Must abort, and say all of `words`, which end with NULL. */
static void reported_(const char *options, void (*run)(void), const char *const *words)
{
	struct body body = { options, run };
	static char said[65536];
	int status = child_run(body_run, &body, said, sizeof(said));

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
		fail_msg("no report: wait status %#x, said %s", (unsigned)status, said);
	for (; *words != NULL; words++)
		if (strstr(said, *words) == NULL)
			fail_msg("\"%s\" is not in %s", *words, said);
}
#define REPORTED(options, run, ...) reported_(options, run, (const char *const[]){ __VA_ARGS__, NULL })

static char *make(size_t size, size_t alignment, enum guard_kind kind, bool zeroed)
{
	return guarded_make(&(struct guarded_request){ .size = size, .alignment = alignment, .kind = kind, .zeroed = zeroed });
}

static char *make_plain(size_t size)
{
	return make(size, 0, GUARD_KIND_MALLOC, false);
}

static void release(void *block)
{
	guarded_free(block, &(struct guarded_release){ .call = "free", .size = GUARDED_UNSAID });
}

/* Whether the kernel can read it. */
static bool accessible(const void *address)
{
	static int ends[2] = { -1, -1 };
	char byte;

	if (ends[0] < 0)
		MUST(pipe(ends) == 0);
	if (write(ends[1], address, 1) != 1)
		return false;
	MUST(read(ends[0], &byte, 1) == 1);
	return true;
}

/* Of the arena. */
static size_t mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uintptr_t from, to;
	size_t count = 0;
	char line[4096];

	while (fgets(line, sizeof(line), maps) != NULL)
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && to > slots_base && from < slots_base + slots_bytes)
			count++;
	fclose(maps);
	return count;
}

static bool all_are(const char *from, const char *to, unsigned char value)
{
	for (; from < to; from++)
		if ((unsigned char)*from != value)
			return false;
	return true;
}

/* ---- Where blocks stand ---- */

static const size_t sizes[] = { 0,    1,    2,    8,    15,   16,   17,    31,    32,    33,     100,    1000,    2048,
	                        4064, 4065, 4079, 4080, 4081, 4095, 4096,  4097,  8191,  8192,   8193,   65535,   65536,
	                        65537, 262143, 266240, 300000, 500001, 1048576, 3000000 };
#define SIZE_COUNT (sizeof(sizes) / sizeof(sizes[0]))

static void check_place(char *block, size_t size, size_t alignment, bool at_start, bool zeroed)
{
	struct guarded found;

	MUST(block != NULL && guarded_find(block, &found));
	MUST(found.state == GUARDED_LIVE && found.start == (uintptr_t)block && found.size == size);
	MUST((uintptr_t)block % alignment == 0);
	char *pages = (char *)found.pages;
	char *pages_end = (char *)found.pages_end;
	MUST(pages <= block && block < pages + page);
	MUST(block + size <= pages_end && (size_t)(pages_end - block) < max_size(size, 1) + page);
	MUST(accessible(pages) && accessible(pages_end - 1));
	MUST(!accessible(pages - 1) && !accessible(pages_end));
	MUST(all_are(pages, block, GUARDED_SLACK_BYTE) && all_are(block + size, pages_end, GUARDED_SLACK_BYTE));
	MUST(all_are(block, block + min_size(size, 65536), zeroed ? 0 : GUARDED_FILL_BYTE));
	if (at_start)
		MUST(block == pages);
	else if (alignment <= page)
		MUST((size_t)(pages_end - block) - max_size(size, 1) < alignment);
	MUST(guarded_size(block, "size") == size);
}

static void place_all(size_t malloc_alignment, bool at_start)
{
	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < SIZE_COUNT; i++)
			for (size_t alignment = 0; alignment <= 4 * 65536; alignment = max_size(16, 4 * alignment)) {
				bool zeroed = (i + round) % 2 == 0;
				char *block = make(sizes[i], alignment, GUARD_KIND_MEMALIGN, zeroed);
				check_place(block, sizes[i], max_size(alignment, malloc_alignment), at_start, zeroed);
				memset(block, 0x11, sizes[i]);
				struct guarded found;
				guarded_find(block, &found);
				release(block);
				MUST(!accessible((char *)found.pages) && !accessible((char *)found.pages_end - 1));
				MUST(guarded_find(block, &found) && found.state == GUARDED_FREED && found.size == sizes[i]);
			}
}

static void place_at_end(void) { place_all(16, false); }
static void place_at_end_unaligned(void) { place_all(1, false); }
static void place_before(void) { place_all(16, true); }

static void test_places(void **state UNUSED)
{
	static const char *const with[] = { "guard_with=auto", "guard_with=protection" };
	char options[256];

	for (size_t i = 0; i < 2; i++) {
		snprintf(options, sizeof(options), "%s", with[i]);
		quiet(options, place_at_end);
		snprintf(options, sizeof(options), "%s,guard_align=1", with[i]);
		quiet(options, place_at_end_unaligned);
		snprintf(options, sizeof(options), "%s,guard_place=before", with[i]);
		quiet(options, place_before);
	}
	/* Slots are used again, by blocks of other sizes. */
	quiet("guard_quarantine=0", place_at_end);
	quiet("guard_quarantine=0,guard_with=protection,guard_place=before", place_before);
}

static void place_randomly(void)
{
	size_t at_start = 0;

	for (size_t i = 0; i < 200; i++) {
		char *block = make_plain(100);
		at_start += (uintptr_t)block % page == 0;
		check_place(block, 100, 16, (uintptr_t)block % page == 0, false);
	}
	MUST(at_start > 50 && at_start < 150);
}

static void test_random_place(void **state UNUSED)
{
	quiet("guard_place=random", place_randomly);
}

static void fill_little(void)
{
	char *block = make_plain(100);

	MUST(all_are(block, block + 10, GUARDED_FILL_BYTE) && all_are(block + 10, block + 100, 0));
}

static void test_fill(void **state UNUSED)
{
	quiet("guard_fill=10", fill_little);
}

/* ---- The quarantine ---- */

static void wait_in_quarantine(void)
{
	char *first = make_plain(32);
	size_t again = 0;

	release(first);
	/* Each takes two pages, so 64 are 512 KiB, with pages of 4 KiB. */
	for (size_t i = 0; i < 200 && again == 0; i++) {
		char *block = make_plain(32);
		if (block == first)
			again = i;
		else
			MUST(!accessible(first));
		release(block);
	}
	MUST(again == 64 || page != 4096);
	MUST(guarded_figures().slots.quarantined_bytes <= 512 * KIB);
}

static void test_quarantine(void **state UNUSED)
{
	quiet("guard_quarantine=512K", wait_in_quarantine);
	quiet("guard_quarantine=512K,guard_with=protection", wait_in_quarantine);
}

/* ---- What is found when a block is freed ---- */

static void overflow_by_one(void)
{
	char *block = make_plain(13);
	block[13] = 0;
	release(block);
}

static void overflow_far(void)
{
	char *block = make_plain(10);
	block[15] = 0;
	release(block);
}

/* In the bytes that are added where there is no guard, on a page that the block itself does not reach. */
static void overflow_to_next_page(void)
{
	char *block = make_plain(page - 16);
	block[page] = 0;
	release(block);
}

static void overflow_of_nothing(void)
{
	char *block = make_plain(0);
	block[0] = 0;
	release(block);
}

static void underflow_by_one(void)
{
	char *block = make_plain(16);
	block[-1] = 0;
	release(block);
}

static void underflow_far(void)
{
	char *block = make_plain(16);
	block[-1000] = 0;
	release(block);
}

static void overflow_seen_at_exit(void)
{
	char *block = make_plain(40);
	block[41] = 0;
	guarded_check_all("exit");
}

static void no_overflow(void)
{
	char *block = make_plain(13);
	memset(block, 0, 13);
	guarded_check_all("exit");
	release(block);
}

static void test_slack(void **state UNUSED)
{
	static const char *const with[] = { "guard_with=auto", "guard_with=protection", "guard_with=checks" };

	for (size_t i = 0; i < 3; i++) {
		REPORTED(with[i], overflow_by_one, "quarry: free(", "bytes behind the block", "13 bytes", "at offset 13,");
		REPORTED(with[i], overflow_far, "bytes behind the block", "at offset 15,");
		REPORTED(with[i], overflow_of_nothing, "bytes behind the block", "0 bytes", "at offset 0,");
		REPORTED(with[i], underflow_by_one, "bytes in front of the block", "at offset -1,");
		REPORTED(with[i], underflow_far, "bytes in front of the block", "at offset -1000,");
		REPORTED(with[i], overflow_seen_at_exit, "quarry: exit(", "bytes behind the block", "at offset 41,");
		quiet(with[i], no_overflow);
	}
	REPORTED("guard_with=checks,guard_place=before", overflow_to_next_page, "bytes behind the block");
	REPORTED("guard_place=before", overflow_by_one, "bytes behind the block", "at offset 13,");
}

static void free_twice(void)
{
	char *block = make_plain(100);
	release(block);
	for (size_t i = 0; i < 1000; i++)
		release(make_plain(100));
	release(block);
}

static void free_inside(void)
{
	char *block = make_plain(100);
	release(block + 16);
}

static void free_guard(void)
{
	struct guarded found;
	char *block = make_plain(100);
	guarded_find(block, &found);
	release((char *)found.pages_end + 16);
}

static void free_never(void)
{
	release((char *)slots_base + 1000 * page);
}

static void size_of_freed(void)
{
	char *block = make_plain(100);
	release(block);
	guarded_size(block, "malloc_usable_size");
}

static void test_bad_pointers(void **state UNUSED)
{
	REPORTED("", free_twice, "quarry: free(", "double free", "100 bytes, from malloc, freed");
	REPORTED("guard_with=checks", free_twice, "double free");
	REPORTED("", free_inside, "inside of a block", "16 bytes inside a live block of 100 bytes");
	REPORTED("", free_guard, "no guarded block starts at or contains");
	REPORTED("", free_never, "no guarded block starts at or contains");
	REPORTED("", size_of_freed, "quarry: malloc_usable_size(", "double free");
}

/* ---- Forms that belong together ---- */

static struct {
	enum guard_kind kind;
	size_t size, alignment;
	struct guarded_release release;
} form;

static void form_run(void)
{
	char *block = make(form.size, form.alignment, form.kind, false);
	guarded_free(block, &form.release);
}

static void form_set(enum guard_kind kind, size_t alignment, const char *call, size_t size, size_t said)
{
	form.kind = kind;
	form.size = 100;
	form.alignment = alignment;
	form.release = (struct guarded_release){ .call = call, .size = size, .alignment = said };
}

static void test_forms(void **state UNUSED)
{
	static const struct {
		enum guard_kind kind;
		size_t alignment;
		const char *call;
		size_t size, said;
		const char *words;              /* NULL: nothing to say */
	} cases[] = {
		{ GUARD_KIND_MALLOC, 0, "free", GUARDED_UNSAID, 0, NULL },
		{ GUARD_KIND_MALLOC, 0, "free_sized", 100, 0, NULL },
		{ GUARD_KIND_MALLOC, 0, "free_sized", 99, 0, "another size" },
		{ GUARD_KIND_MALLOC, 0, "operator delete", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_MALLOC, 0, "operator delete[]", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_MEMALIGN, 64, "free", GUARDED_UNSAID, 0, NULL },
		{ GUARD_KIND_MEMALIGN, 64, "free_aligned_sized", 100, 64, NULL },
		{ GUARD_KIND_MEMALIGN, 8, "free_aligned_sized", 100, 8, NULL },
		{ GUARD_KIND_MEMALIGN, 64, "free_aligned_sized", 100, 128, "another alignment" },
		{ GUARD_KIND_MEMALIGN, 64, "free_aligned_sized", 101, 64, "another size" },
		{ GUARD_KIND_MEMALIGN, 64, "operator delete", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_NEW, 0, "operator delete", GUARDED_UNSAID, 0, NULL },
		{ GUARD_KIND_NEW, 0, "operator delete", 100, 0, NULL },
		{ GUARD_KIND_NEW, 0, "operator delete", 60, 0, "another size" },
		{ GUARD_KIND_NEW, 0, "free", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_NEW, 0, "realloc", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_NEW, 0, "operator delete[]", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_NEW, 0, "operator delete", 100, 64, "another alignment" },
		{ GUARD_KIND_NEW_ARRAY, 0, "operator delete[]", GUARDED_UNSAID, 0, NULL },
		{ GUARD_KIND_NEW_ARRAY, 0, "operator delete[]", 100, 0, NULL },
		{ GUARD_KIND_NEW_ARRAY, 0, "operator delete", GUARDED_UNSAID, 0, "mismatched forms: " },
		{ GUARD_KIND_NEW_ALIGNED, 64, "operator delete", GUARDED_UNSAID, 64, NULL },
		{ GUARD_KIND_NEW_ALIGNED, 64, "operator delete", 100, 64, NULL },
		{ GUARD_KIND_NEW_ALIGNED, 16, "operator delete", 100, 8, NULL },
		{ GUARD_KIND_NEW_ALIGNED, 64, "operator delete", 100, 32, "another alignment" },
		{ GUARD_KIND_NEW_ALIGNED, 64, "operator delete", GUARDED_UNSAID, 0, "another alignment" },
		{ GUARD_KIND_NEW_ARRAY_ALIGNED, 4096, "operator delete[]", 100, 4096, NULL },
		{ GUARD_KIND_NEW_ARRAY_ALIGNED, 4096, "operator delete", 100, 4096, "mismatched forms: " },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		form_set(cases[i].kind, cases[i].alignment, cases[i].call, cases[i].size, cases[i].said);
		if (cases[i].words == NULL)
			quiet(i % 2 == 0 ? "" : "guard_align=1", form_run);
		else
			REPORTED("", form_run, cases[i].words);
	}
}

static void form_unknown(void)
{
	guarded_forms_unknown();
	form_run();
}

static void test_unknown_forms(void **state UNUSED)
{
	form_set(GUARD_KIND_MALLOC, 0, "operator delete", 100, 0);
	quiet("", form_unknown);
}

/* ---- Without guards, or not enough of them ---- */

/* Many more than there may be guards, some of them large or aligned. */
#define MANY 3000
static char *blocks[MANY];

static void spend_guards(void)
{
	struct slots_settings settings = { .bytes = GIB, .guards = SLOTS_GUARDS_PROTECTION, .guards_max = 100,
		                           .quarantine_bytes = 64 * MIB, .last_count = 1024 };
	struct random random = { .state = 12345 };
	size_t fenced = 0;

	MUST(slots_init(&settings));
	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < MANY; i++) {
			size_t size = random_below(&random, i % 10 == 0 ? 20000 : 200);
			blocks[i] = make(size, i % 50 == 0 ? 4 * page : 0, GUARD_KIND_MALLOC, i % 2 == 0);
			MUST(blocks[i] != NULL && all_are(blocks[i], blocks[i] + size, i % 2 == 0 ? 0 : GUARDED_FILL_BYTE));
			memset(blocks[i], 0x11, size);
		}
		MUST(mappings() <= 2 * 100 + 2);
		for (size_t i = 0; i < MANY; i++) {
			struct guarded found;
			MUST(guarded_find(blocks[i], &found));
			fenced += !accessible((char *)found.pages_end);
			/* What has no guard has bytes that are checked. */
			MUST(!accessible((char *)found.pages_end) || found.pages_end - found.start - found.size >= UNFENCED_BYTES);
			release(blocks[i]);
		}
		MUST(fenced >= 90);
		MUST(mappings() <= 2 * 100 + 2);
	}
	MUST(guarded_figures().slots.guards <= 100);
}

static void test_guards_are_spent(void **state UNUSED)
{
	struct body body = { "guard_with=checks", spend_guards };
	char said[4096];
	int status = child_run(body_run, &body, said, sizeof(said));

	if (strcmp(said, "quarry: guard: 100 guards are made, more would need more mappings than vm.max_map_count allows: further "
	                 "blocks are checked when they are freed\n") != 0)
		fail_msg("said: %s", said);
	ASSERT_EXITED(status);
}

/* While guards are short, freed blocks' are used again rather than none. */
static void reuse_guards(void)
{
	struct slots_settings settings = { .bytes = GIB, .guards = SLOTS_GUARDS_PROTECTION, .guards_max = 100,
		                           .quarantine_bytes = GIB, .last_count = 1024 };
	size_t fenced = 0;

	MUST(slots_init(&settings));
	for (size_t i = 0; i < 1000; i++) {
		struct guarded found;
		char *block = make_plain(50);
		MUST(guarded_find(block, &found));
		fenced += !accessible((char *)found.pages_end);
		release(block);
	}
	MUST(fenced == 1000);
}

static void test_guards_are_reused(void **state UNUSED)
{
	quiet("guard_with=checks", reuse_guards);
}

static void write_after_free(void)
{
	char *block = make_plain(100);
	release(block);
	MUST(accessible(block));
	block[7] = 1;
	for (size_t i = 0; i < 100; i++)
		release(make_plain(100));
}

static void write_after_free_seen_at_exit(void)
{
	char *block = make_plain(100);
	release(block);
	block[99] = 1;
	guarded_check_all("exit");
}

static void churn(void)
{
	struct random random = { .state = 999 };

	for (size_t i = 0; i < 20000; i++) {
		size_t at = random_below(&random, 100);
		if (blocks[at] != NULL)
			release(blocks[at]);
		size_t size = random_below(&random, i % 20 == 0 ? 300000 : 500);
		bool zeroed = random_below(&random, 2) == 0;
		blocks[at] = make(size, 0, GUARD_KIND_MALLOC, zeroed);
		MUST(blocks[at] != NULL && (uintptr_t)blocks[at] % 16 == 0);
		MUST(all_are(blocks[at], blocks[at] + min_size(size, 4096), zeroed ? 0 : GUARDED_FILL_BYTE));
		memset(blocks[at], 0x33, size);
	}
	guarded_check_all("exit");
}

static void test_checks_alone(void **state UNUSED)
{
	REPORTED("guard_with=checks,guard_quarantine=64K", write_after_free, "bytes of the freed block have been overwritten", "at offset 7,");
	REPORTED("guard_with=checks", write_after_free_seen_at_exit, "quarry: exit(", "bytes of the freed block have been overwritten",
	         "at offset 99,");
	quiet("guard_with=checks,guard_quarantine=64K", churn);
	quiet("guard_with=protection,guard_quarantine=64K", churn);
	quiet("guard_quarantine=64K", churn);
	quiet("guard_quarantine=64K,guard_place=random,guard_align=16", churn);
}

/* What is locked can't have guards; what has them keeps them. */
static void lock_memory(void)
{
	struct guarded found;
	char *before = make_plain(100);
	char *freed = make_plain(100);

	bool markers = os_has_guards();
	release(freed);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		_exit(77);
	MUST(!accessible(freed));
	release(before);
	churn();
	/* They are known to have no guard, and have bytes to be checked. */
	size_t padded = 0;
	for (size_t i = 0; i < 1000; i++) {
		MUST(guarded_find(make_plain(page), &found));
		padded += found.pages_end - found.start - found.size >= UNFENCED_BYTES;
	}
	MUST(!markers || padded == 1000);
	munlockall();
	size_t fenced = 0;
	for (size_t i = 0; i < 2000; i++) {
		char *block = make_plain(100);
		MUST(guarded_find(block, &found));
		fenced += !accessible((char *)found.pages_end);
	}
	MUST(fenced > 1000);
}

static void test_locked_memory(void **state UNUSED)
{
	struct body body = { "guard_quarantine=1M", lock_memory };
	char said[4096];

	SKIP_EMULATED("advice for locked memory is not heard");
	skip_where(THREAD_SANITIZED || ADDRESS_SANITIZED, "all of a sanitizer's memory can't be locked");
	int status = child_run(body_run, &body, said, sizeof(said));

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("# skipped: memory can't be locked\n");
		skip();
	}
	ASSERT_EXITED(status);
	if (os_has_guards())
		assert_string_equal(said, "quarry: guard: the system refuses a guard (error 22; memory that is locked can't have "
		                          "any): such blocks are checked when they are freed\n");
}

/* ---- What is known ---- */

static void know(void)
{
	struct guarded found, before, after;
	char *first = make_plain(100);
	char *second = make(200, 0, GUARD_KIND_NEW, false);
	char *third = make_plain(300);
	uint64_t start_ns = os_now_ns();

	MUST(first < second && second < third);
	memset(second, 'x', 200);
	strcpy(second, "what it held");
	MUST(guarded_find(second + 199, &found) && found.state == GUARDED_LIVE && found.kind == GUARD_KIND_NEW);
	MUST(found.start == (uintptr_t)second && found.size == 200 && found.alignment == 16);
	MUST(found.allocated_ns != 0 && found.allocated_ns <= start_ns && found.freed_ns == 0 && found.last_bytes == 0);
	/* In the guard behind the first block: nearer to it than to the second, which ends at its page's end. */
	MUST(guarded_find(first + 100 + 16, &found) && found.start == (uintptr_t)first);
	MUST(guarded_find((char *)found.pages_end + page - 1, &found) && found.start == (uintptr_t)second);
	/* In front of the very first. */
	MUST(guarded_find((char *)slots_base - 1, &found) && found.start == (uintptr_t)first);
	MUST(!guarded_find((char *)slots_base + slots_bytes - 1, &found) && found.state == GUARDED_NONE);
	MUST(!guarded_find(&found, &found));
	MUST(guarded_neighbours(second, &before, &after));
	MUST(before.start == (uintptr_t)first && after.start == (uintptr_t)third);
	guarded_free(second, &(struct guarded_release){ .call = "operator delete", .size = 200 });
	for (size_t i = 0; i < 5; i++)
		release(make_plain(10));
	MUST(guarded_find(second, &found) && found.state == GUARDED_FREED && found.frees_since == 5);
	MUST(found.freed_ns >= start_ns && found.freed_ns <= os_now_ns());
	MUST(found.last_bytes == 64 && strcmp((char *)found.last, "what it held") == 0 && found.last[63] == 'x');
	MUST(guarded_neighbours(second, &before, &after));
	MUST(before.start == (uintptr_t)first && after.start == (uintptr_t)third);
	MUST(guarded_neighbours(first, &before, &after) && before.state == GUARDED_NONE && after.start == (uintptr_t)third);
	release(first);
	release(third);
	MUST(!guarded_neighbours(second, &before, &after) && after.state == GUARDED_NONE);
}

static void know_last_bytes(void)
{
	struct guarded found;
	char *old = make_plain(3);
	memcpy(old, "abc", 3);
	release(old);
	MUST(guarded_find(old, &found) && found.last_bytes == 3 && memcmp(found.last, "abc", 3) == 0);
	for (size_t i = 0; i < 65536; i++)
		release(make_plain(1));
	MUST(guarded_find(old, &found) && found.state == GUARDED_FREED && found.last_bytes == 0 && found.frees_since == 65536);
}

static void test_what_is_known(void **state UNUSED)
{
	quiet("", know);
	quiet("guard_with=protection", know);
	/* With fewer guards blocks leave the quarantine before. */
	if (os_has_guards())
		quiet("", know_last_bytes);
}

struct seen {
	size_t count;
	char *last;
};

static int see(void *block, size_t size, void *context)
{
	struct seen *seen = context;

	MUST((char *)block > seen->last && size == 10 + seen->count);
	seen->last = block;
	return ++seen->count == 50 ? 7 : 0;
}

static void walk(void)
{
	struct seen seen = { 0 };
	struct guarded_figures figures;

	MUST(guarded_walk(see, &seen) == 0 && seen.count == 0);
	for (size_t i = 0; i < 60; i++) {
		release(make_plain(5));
		make_plain(10 + i);
	}
	figures = guarded_figures();
	MUST(figures.live_blocks == 60 && figures.live_bytes == 60 * 10 + 59 * 60 / 2 && figures.live_page_bytes == 60 * page);
	MUST(figures.slots.slots == 120 && figures.slots.quarantined == 60);
	MUST(guarded_walk(see, &seen) == 7 && seen.count == 50);
}

static void test_walk(void **state UNUSED)
{
	quiet("", walk);
}

/* ---- Which are guarded ---- */

static void filter_sizes(void)
{
	MUST(make_plain(15) == NULL && make_plain(16) != NULL && make_plain(100) != NULL && make_plain(101) == NULL);
}

static void filter_every(void)
{
	size_t count = 0;

	for (size_t i = 0; i < 1000; i++)
		count += make_plain(10) != NULL;
	MUST(count == 100);
}

static void limit(void)
{
	size_t count = 0;

	MUST(make_plain(2 * MIB) == NULL);
	while ((blocks[count] = make_plain(10)) != NULL)
		count++;
	MUST(count == MIB / page);
	release(blocks[0]);
	MUST(make_plain(10) != NULL && make_plain(10) == NULL);
}

static void limit_alone(void)
{
	MUST(make_plain(2 * MIB) == NULL && make_plain(10) != NULL);
}

static void ask_too_much(void)
{
	MUST(make_plain(SIZE_MAX) == NULL && make_plain(PTRDIFF_MAX) == NULL && make(1, (size_t)1 << 62, GUARD_KIND_MEMALIGN, 0) == NULL);
	MUST(make_plain(10) != NULL);
}

static void test_filters(void **state UNUSED)
{
	quiet("guard_sizes=16-100", filter_sizes);
	quiet("guard_every=10", filter_every);
	quiet("", ask_too_much);
	quiet("guard_limit=1M", limit_alone);
	struct body body = { "guard_limit=1M", limit };
	char said[4096];
	int status = child_run(body_run, &body, said, sizeof(said));
	assert_string_equal(said, "quarry: guard: guard_limit is reached: further blocks are not guarded\n");
	ASSERT_EXITED(status);
	assert_true(filter_is_module("/usr/lib/libfoo.so.1", "libfoo.so"));
	assert_true(filter_is_module("/usr/lib/libfoo.so", "libfoo.so"));
	assert_true(filter_is_module("program", "program"));
	assert_false(filter_is_module("/usr/lib/libfoo.so.1", "libfo"));
	assert_false(filter_is_module("/usr/libfoo.so/libbar.so", "libfoo.so"));
}

/* ---- Threads ---- */

static _Atomic(char *) shared_block;

static void *thread_churn(void *argument)
{
	struct random random = { .state = (uintptr_t)argument + 1 };
	char *own[20] = { NULL };

	for (size_t i = 0; i < rounds(5000, 200); i++) {
		size_t at = random_below(&random, 20);
		if (own[at] != NULL)
			release(own[at]);
		own[at] = make_plain(random_below(&random, 300));
		memset(own[at], (int)i, guarded_size(own[at], "size"));
		/* Passed on: freed by whoever comes next. */
		char *passed = atomic_exchange(&shared_block, own[at]);
		own[at] = NULL;
		if (passed != NULL)
			release(passed);
		if (i % 20 == 0)
			guarded_check_all("check");
	}
	return NULL;
}

static void run_threads(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		MUST(pthread_create(&threads[i], NULL, thread_churn, (void *)(100 + i)) == 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	release(shared_block);
	MUST(guarded_figures().live_blocks == 0 && guarded_figures().live_page_bytes == 0);
}

static void test_threads(void **state UNUSED)
{
	quiet("guard_quarantine=1M", run_threads);
	quiet("guard_quarantine=1M,guard_with=protection", run_threads);
	quiet("guard_quarantine=1M,guard_with=checks", run_threads);
}

/* Memcheck is told what is whose, and most of what these tests look at is nobody's. */
static void test_not_under_memcheck(void **state UNUSED)
{
	print_message("# skipped: looks at memory that is nobody's\n");
	skip();
}

static int setup(void **state UNUSED)
{
	page = os_page_bytes();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_random_place),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_quarantine),
		cmocka_unit_test(test_slack),
		cmocka_unit_test(test_bad_pointers),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_unknown_forms),
		cmocka_unit_test(test_guards_are_spent),
		cmocka_unit_test(test_guards_are_reused),
		cmocka_unit_test(test_checks_alone),
		cmocka_unit_test(test_locked_memory),
		cmocka_unit_test(test_what_is_known),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_threads),
	};

	const struct CMUnitTest none[] = { cmocka_unit_test(test_not_under_memcheck) };

	if (MEMCHECK_BUILD)
		return cmocka_run_group_tests(none, setup, NULL);
	return cmocka_run_group_tests(tests, setup, NULL);
}

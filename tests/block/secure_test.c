/* What a security level does to single blocks and slabs: slack, canaries, zeros, guards, places. */
#include "model/support.h"

#include <unistd.h>

#include "base/memcheck.h"
#include "base/options.h"
#include "block/large.h"
#include "block/large_secure.h"
#include "block/lookup.h"
#include "block/secure.h"
#include "block/slab.h"
#include "os/os.h"
#include "space/purge.h"
#include "space/span.h"

static const char magazine_place;

static void configure(const char *items)
{
	struct options options;
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	options_reset(&options);
	MUST(options_parse(&options, items, OPTION_FROM_PROGRAM, &text) == 0);
	secure_configure(&options);
}

/* The kernel reads for us: no fault. */
static bool is_accessible(uintptr_t address)
{
	int ends[2];

	MUST(pipe(ends) == 0);
	bool accessible = write(ends[1], (const void *)address, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return accessible;
}

/* ---- Slack ---- */

static void test_slack(void **state UNUSED)
{
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		struct span *slab = slab_make(class_index, 4096, &magazine_place);
		assert_non_null(slab);
		size_t first = slab->first_index, last = slab->end_index - 1u;
		size_t most = class_index < SECURE_NARROW_CLASSES ? min_size(slab->block_bytes, UINT8_MAX) : slab->block_bytes;
		/* Neighbours keep theirs, the ledger is not touched. */
		secure_set_slack(&slab->ledger[first], class_index, most);
		secure_set_slack(&slab->ledger[last], class_index, most - 1);
		for (size_t slack = 0; slack <= most; slack += 1 + slack / 16) {
			secure_set_slack(&slab->ledger[first + 1], class_index, slack);
			assert_int_equal(secure_slack(&slab->ledger[first + 1], class_index), slack);
			assert_int_equal(secure_asked(slab, &slab->ledger[first + 1]), slab->block_bytes - slack);
		}
		assert_int_equal(secure_slack(&slab->ledger[first], class_index), most);
		assert_int_equal(secure_slack(&slab->ledger[last], class_index), most - 1);
		assert_true(slab_is_valid(slab));
		assert_int_equal(slab_count_free(slab), slab_block_count(slab));
		slab_release(slab);
	}
}

/* What any request leaves in its class can be remembered. */
static void test_slack_fits(void **state UNUSED)
{
	for (size_t alignment = 16; alignment <= ALIGNED_BYTES_MAX; alignment *= 2)
		for (size_t size = 0; size + CANARY_BYTES <= SMALL_BYTES_MAX; size++) {
			unsigned class_index = size_class_aligned(size + CANARY_BYTES, alignment);
			if (class_index == CLASS_COUNT)
				continue;
			size_t slack = size_classes[class_index].size - size;
			assert_in_range(slack, CANARY_BYTES, class_index < SECURE_NARROW_CLASSES ? UINT8_MAX : UINT16_MAX);
		}
}

/* ---- Canaries ---- */

static void test_canary(void **state UNUSED)
{
	unsigned char block[64] ALIGNED(16) = { 0 };
	uint64_t canary = secure_canary(block);

	assert_int_not_equal(canary & 0xff, 0);
	assert_int_not_equal(canary >> 32, 0);
	assert_int_not_equal(canary, secure_canary(block + 16));
	for (size_t asked = 0; asked <= 40; asked++) {
		memset(block, 0, sizeof(block));
		secure_set_canary(block, asked);
		assert_true(secure_canary_stands(block, asked));
		assert_int_equal(secure_slack_changed(block, asked, sizeof(block)), sizeof(block));
		for (size_t at = asked; at < sizeof(block); at++) {
			block[at] ^= 0x40;
			assert_int_equal(secure_canary_stands(block, asked), at >= asked + CANARY_BYTES);
			assert_int_equal(secure_slack_changed(block, asked, sizeof(block)), at);
			block[at] ^= 0x40;
		}
	}
}

/* ---- Zeros ---- */

static void zero_any(void *block, size_t bytes)
{
	memset(block, 0, bytes);
}

#if defined(SECURE_WIDE)
static SECURE_WIDE void zero_wide(void *block, size_t bytes)
{
	secure_zero_quick_wide(block, bytes);
}

static SECURE_WIDE bool is_zero_wide(const void *block, size_t bytes)
{
	return secure_is_zero_quick_wide(block, bytes);
}
#endif

/* Exactly the blocks of these classes, and every byte of them. */
static void check_zeros(unsigned classes, void (*zero)(void *block, size_t bytes), bool (*is_zero)(const void *block, size_t bytes))
{
	static unsigned char memory[40000] ALIGNED(64);
	unsigned char *block = memory + 80;

	for (unsigned class_index = 0; class_index < classes; class_index++) {
		size_t bytes = size_classes[class_index].size;
		memset(memory, 0xff, sizeof(memory));
		zero(block, bytes);
		for (size_t i = 0; i < 64; i++)
			assert_true(block[-1 - (ptrdiff_t)i] == 0xff && block[bytes + i] == 0xff);
		assert_int_equal(secure_first_nonzero(block, bytes), bytes);
		assert_true(is_zero(block, bytes));
		for (size_t at = 0; at < bytes; at += bytes > 1024 ? 61 : 1) {
			block[at] = (unsigned char)(1 << at % 8);
			assert_false(is_zero(block, bytes));
			assert_int_equal(secure_first_nonzero(block, bytes), at);
			block[at] = 0;
		}
	}
}

static void test_zeros(void **state UNUSED)
{
	bool wide = secure.wide;

	for (unsigned i = 0; i < 2; i++) {
		secure.wide = wide && i == 1;
		check_zeros(CLASS_FIRST_ALIGNED, zero_any, secure_is_zero);
	}
	secure.wide = wide;
	check_zeros(SECURE_QUICK_CLASSES, secure_zero_quick, secure_is_zero_quick);
}

static void test_zeros_wide(void **state UNUSED)
{
#if defined(SECURE_WIDE)
	if (__builtin_cpu_supports("avx2")) {
		check_zeros(SECURE_QUICK_CLASSES, zero_wide, is_zero_wide);
		return;
	}
#endif
	print_message("# skipped: this processor has no vectors of 32 bytes\n");
	skip();
}

/* ---- Large blocks ---- */

/* Of a block that was written to everywhere. */
static void check_wiped(int32_t known, size_t bytes, enum remains expected)
{
	size_t page = os_page_bytes();
	struct span *span;
	ledger_byte *state;
	size_t changed;

	if (expected == REMAINS_ENDS && bytes < 3 * page)
		expected = REMAINS_NOTHING;
	unsigned char *block = large_make_secure(bytes, 16, false, &changed);
	assert_non_null(block);
	assert_true(live_block(block, &span, &state));
	memset(block, 0xaa, bytes);
	uintptr_t start = span->start;
	size_t units = span->units, dirty = span_dirty_units();
	large_touched = known;
	assert_true(ledger_end_life(state, LEDGER_FREE));
	large_release(span);
	assert_int_equal(span_dirty_units() - dirty, expected == REMAINS_ALL ? units : expected == REMAINS_ENDS ? min_size(units, 2) : 0);
	uintptr_t from = ROUND_DOWN((uintptr_t)block, page), to = ROUND_UP((uintptr_t)block + bytes + CANARY_BYTES, page);
	size_t resident = os_resident_bytes((void *)from, to - from);
	/* The kernel's pages may be smaller than ours. */
	if (expected == REMAINS_ALL)
		assert_in_range(resident, bytes, to - from);
	else
		assert_int_equal(resident, expected == REMAINS_ENDS ? 2 * page : 0);
	if (expected == REMAINS_NOTHING)
		assert_int_equal(os_resident_bytes((void *)start, units * UNIT_BYTES), 0);
	assert_int_equal(secure_first_nonzero((void *)start, units * UNIT_BYTES), units * UNIT_BYTES);
	lock_take(&space_lock);
	assert_true(span_is_valid());
	lock_release(&space_lock);
}

/* What is freed is zero; by writing where that is worth it, and not where it would go back at once. */
static void test_large_wiped(void **state UNUSED)
{
	if (MEMCHECK_BUILD) {
		print_message("# skipped: builds for memcheck have no security levels\n");
		skip();
	}
	purge_set_retain(16 * MIB);
	check_wiped(0, 60000, REMAINS_ALL);
	check_wiped(0, 1 * MIB, REMAINS_ENDS);
	check_wiped(LARGE_TOUCHED, 1 * MIB, REMAINS_ALL);
	check_wiped(LARGE_TOUCHED, 8 * MIB, REMAINS_ALL);
	check_wiped(LARGE_TOUCHED, 20 * MIB, REMAINS_NOTHING);
	check_wiped(LARGE_UNTOUCHED, 60000, REMAINS_ENDS);
	check_wiped(LARGE_UNTOUCHED, 8 * MIB, REMAINS_ENDS);
	purge_set_retain(64 * MIB);
	check_wiped(LARGE_TOUCHED, 20 * MIB, REMAINS_ALL);
	check_wiped(LARGE_TOUCHED, 40 * MIB, REMAINS_ENDS);
	atomic_store(&purge_held, true);
	check_wiped(LARGE_TOUCHED, 60000, REMAINS_ENDS);
	check_wiped(LARGE_TOUCHED, 8 * MIB, REMAINS_ENDS);
	atomic_store(&purge_held, false);
	purge_set_retain(0);
	check_wiped(0, 60000, REMAINS_NOTHING);
	check_wiped(LARGE_TOUCHED, 1 * MIB, REMAINS_NOTHING);
	check_wiped(LARGE_UNTOUCHED, 1 * MIB, REMAINS_NOTHING);
	purge_set_retain(16 * MIB);
}

/* ---- Guards ---- */

static void check_guards(unsigned class_index, bool before)
{
	struct span *slab = slab_make(class_index, 4096, &magazine_place);
	MUST(slab != NULL);
	uintptr_t end = slab->start + slab->units * UNIT_BYTES;
	uintptr_t first = slab->base + slab->first_index * slab->block_bytes;
	uintptr_t behind = slab->base + slab->end_index * slab->block_bytes;

	MUST(slab->guards == (before ? GUARD_BEFORE | GUARD_BEHIND : GUARD_BEHIND));
	MUST(behind <= end - secure.guard_bytes && behind + slab->block_bytes > end - secure.guard_bytes);
	MUST(!is_accessible(end - secure.guard_bytes) && !is_accessible(end - 1));
	MUST(is_accessible(slab->start) == !before && is_accessible(first) && is_accessible(behind - 1));
	MUST(!before || first >= slab->start + secure.guard_bytes);
	MUST(class_index < CLASS_FIRST_ALIGNED || IS_ALIGNED(first, slab->block_bytes));
	/* All blocks can be written to. */
	memset((void *)first, 0, behind - first);
	slab_release(slab);
	MUST(is_accessible(end - 1) && is_accessible(end - UNIT_BYTES));
}

static void test_guards(void **state UNUSED)
{
	if (secure.guard_bytes == 0) {
		print_message("# skipped: this kernel has no guard markers\n");
		skip();
	}
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
		check_guards(class_index, false);
	pid_t child = fork();
	if (child == 0) {
		/* Headers that are there already have no room in front. */
		secure.guards = SECURE_GUARDS_AROUND;
		for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
			struct span *old = slab_make(class_index, 4096, &magazine_place);
			MUST(old != NULL);
			check_guards(class_index, true);
		}
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- Places ---- */

/* Slabs that are made one after the other don't rise through memory. */
static void test_places(void **state UNUSED)
{
	enum { SLABS = 64 };
	struct span *slabs[SLABS];
	size_t falls = 0, apart = 0;

	for (size_t i = 0; i < SLABS; i++) {
		slabs[i] = slab_make(CLASS_OF_64, 4096, &magazine_place);
		assert_non_null(slabs[i]);
		falls += i > 0 && slabs[i]->start < slabs[i - 1]->start;
		apart += i > 0 && slabs[i]->start != slabs[i - 1]->start + UNIT_BYTES;
	}
	assert_in_range(falls, SLABS / 8, SLABS);
	assert_in_range(apart, SLABS / 2, SLABS);
	for (size_t i = 0; i < SLABS; i++)
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(slabs[i]->start, slabs[j]->start);
	for (size_t i = 0; i < SLABS; i++)
		slab_release(slabs[i]);
}

/* ---- Settings ---- */

/* Each in a child of its own: they are read once. */
static void check_settings(const char *items, bool (*is_right)(void))
{
	pid_t child = fork();
	if (child == 0) {
		memset(&secure, 0, sizeof(secure));
		configure(items);
		_exit(is_right() ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0)
		fail_msg("%s", items);
}

static bool off(void) { return !secure.on && !secure.quick && secure_slack_bytes(3) == 0; }
static bool level_1(void) { return secure.on && secure.quick && secure.zero && secure.verify && secure.canary && secure.random && !secure.hides_large && !secure.said && secure.guards <= SECURE_GUARDS_BEHIND && secure.quarantine_bytes == 0 && secure.canary_bytes == 8; }
static bool level_2(void) { return secure.on && !secure.quick && secure.zero && secure.hides_large && secure.said && secure.guards != SECURE_GUARDS_BEHIND && secure.quarantine_bytes == MIB && secure.quarantine_blocks == 1023; }
static bool no_zero(void) { return secure.on && !secure.zero && !secure.verify && !secure.quick; }
static bool no_verify(void) { return secure.zero && !secure.verify && !secure.quick; }
static bool no_canary(void) { return !secure.canary && secure.canary_bytes == 0 && !secure.quick; }
static bool no_random(void) { return !secure.random && !secure.quick; }
static bool no_guards(void) { return secure.guards == SECURE_GUARDS_NONE && secure.quick; }
static bool more_at_1(void) { return secure.hides_large && secure.said && secure.quarantine_bytes == 0; }
static bool no_quarantine(void) { return secure.quarantine_bytes == 0 || secure.quarantine_blocks == 0; }

static void test_settings(void **state UNUSED)
{
	check_settings("secure=0,secure_said=on", off);
	check_settings("secure=1", level_1);
	check_settings("secure=2", level_2);
	check_settings("secure=1,secure_zero=off", no_zero);
	check_settings("secure=1,secure_verify=off", no_verify);
	check_settings("secure=1,secure_canary=off", no_canary);
	check_settings("secure=1,secure_random=off", no_random);
	check_settings("secure=1,secure_guards=none", no_guards);
	check_settings("secure=1,secure_large=on,secure_said=on", more_at_1);
	check_settings("secure=2,secure_quarantine=0", no_quarantine);
	check_settings("secure=2,secure_quarantine_blocks=0", no_quarantine);
}

/* Two streams of one process, and of two, have nothing to do with each other. */
static void test_streams(void **state UNUSED)
{
	struct chacha first, second;

	secure_random_start(&first);
	secure_random_start(&second);
	assert_int_not_equal(chacha_64(&first), chacha_64(&second));
	assert_int_not_equal(secure.keys[0], 0);
	assert_int_equal(secure.keys[1] & 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slack),
		cmocka_unit_test(test_slack_fits),
		cmocka_unit_test(test_canary),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_zeros_wide),
		cmocka_unit_test(test_large_wiped),
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_streams),
	};

	configure("secure=1");
	return cmocka_run_group_tests(tests, NULL, NULL);
}

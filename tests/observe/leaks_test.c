/* Leak finding: what a block is found to be, by how it is pointed to; groups by stack, and what a report tells of many.
 * Each test runs in a child with guard mode. */
#include "model/support.h"

#include <pthread.h>

#include "guard/guarded.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "observe/leaks.h"
#include "observe/reach.h"
#include "quarry/quarry.h"

/* Before a fork whose child looks: what is here is searched as any program's data. */
static void *volatile roots[8];

static const char *guard_options;

static void in_guard_mode(void *argument)
{
	static struct options options;
	char buffer[1024];
	struct text complaints = text_over(buffer, sizeof(buffer));

	options_reset(&options);
	MUST(options_parse(&options, guard_options, OPTION_FROM_PROGRAM, &complaints) == 0);
	guarded_configure(&options);
	MUST(guarded_on);
	MUST(stack_configure(8, 1 << 20, false));
	report_configure(&(struct report_settings){ .path = "" });
	((void (*)(void))argument)();
}

/* The child must end well; returns what it said. */
static const char *child_with(const char *options, void (*run)(void))
{
	static char said[65536];

	skip_where(ADDRESS_SANITIZED || THREAD_SANITIZED, "a sanitizer's own memory takes minutes to search");
	skip_where(MEMCHECK_BUILD, "copies of the pointers are in valgrind's own memory");
	guard_options = options;
	int status = child_run(in_guard_mode, (void *)(uintptr_t)run, said, sizeof(said));

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("wait status %#x, said %s", (unsigned)status, said);
	return said;
}

static const char *child(void (*run)(void))
{
	return child_with("guard=on", run);
}

static void *make(size_t size, enum guard_kind kind)
{
	return guarded_make(&(struct guarded_request){ .size = size, .kind = kind, .zeroed = true });
}

static size_t number_of(const void *block)
{
	struct guarded_live live;

	MUST(guarded_live_at((uintptr_t)block, &live) && live.start == (uintptr_t)block);
	return live.number;
}

/* Addresses in a form that the search doesn't recognise. */
static uintptr_t hidden[8];
static void hide_in(size_t index, void *block) { hidden[index] = ~(uintptr_t)block; }
static enum reach reach_hidden(size_t index) { return reach_of(number_of((void *)~hidden[index])); }

NOINLINE static void forget(void)
{
	char bytes[65536];

	memset(bytes, 0, sizeof(bytes));
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

NOINLINE static void blocks_make(void)
{
	for (size_t i = 0; i < 8; i++)
		hide_in(i, make(16 + 16 * i, i == 6 ? GUARD_KIND_NEW_ARRAY : GUARD_KIND_MALLOC));
	void **blocks[8];
	for (size_t i = 0; i < 8; i++)
		blocks[i] = (void **)~hidden[i];
	roots[0] = blocks[0];           /* 0: certain, and leads to 1 */
	blocks[0][1] = blocks[1];
	roots[1] = (char *)blocks[2] + 4;       /* 2: inside, leads to 3 */
	blocks[2][0] = blocks[3];
	blocks[4][2] = blocks[5];       /* 4: lost, leads to 5 */
	roots[2] = (char *)blocks[6] + sizeof(size_t);  /* 6: an array behind its count */
	roots[3] = (char *)blocks[7] + 16 + 16 * 7;     /* 7: its end is not inside */
	memset(blocks, 0, sizeof(blocks));
}

static void expect_reaches(void)
{
	static const enum reach expected[8] = { REACH_CERTAINLY, REACH_CERTAINLY, REACH_POSSIBLY, REACH_POSSIBLY,
		                                REACH_NONE, REACH_INDIRECTLY, REACH_CERTAINLY, REACH_NONE };

	blocks_make();
	forget();
	MUST(reach_begin(1) != NULL);
	int error = reach_search((uintptr_t)__builtin_frame_address(0));
	reach_resume();
	MUST(error == 0 && reach_deaf_threads() == 0);
	for (size_t i = 0; i < 8; i++)
		if (reach_hidden(i) != expected[i]) {
			fprintf(stderr, "# block %zu: %d, not %d\n", i, (int)reach_hidden(i), (int)expected[i]);
			abort();
		}
	reach_end();
}

static void reaches(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	assert_string_equal(child(expect_reaches), "");
}

/* A vector of thread-local storage's addresses is pointed to behind its first entry, which says how long it is. */
NOINLINE static void vectors_make(void)
{
	size_t *right = make(16 * 12, GUARD_KIND_MALLOC);
	size_t *wrong = make(16 * 12, GUARD_KIND_MALLOC);

	right[0] = 10;
	wrong[0] = 11;
	roots[0] = right + 2;
	roots[1] = wrong + 2;
	hide_in(0, right);
	hide_in(1, wrong);
}

static void expect_vectors(void)
{
	vectors_make();
	forget();
	MUST(reach_begin(1) != NULL);
	MUST(reach_search((uintptr_t)__builtin_frame_address(0)) == 0);
	MUST(reach_hidden(0) == REACH_CERTAINLY);
	MUST(reach_hidden(1) == REACH_POSSIBLY);
	reach_end();
}

static void vectors(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	assert_string_equal(child(expect_vectors), "");
}

/* Blocks of Quarry's that are not guarded lead to others if they are reached themselves. */
NOINLINE static void plain_make(void)
{
	static const size_t sizes[] = { 48, 5000, 200000 };

	for (size_t i = 0; i < 6; i++) {
		void **holder = quarry_malloc(sizes[i % 3]);
		void *block = make(40, GUARD_KIND_MALLOC);
		memset(holder, 0, sizes[i % 3]);
		holder[4] = block;
		hide_in(i, block);
		if (i < 3)
			roots[i] = holder;
	}
}

static void expect_plain(void)
{
	plain_make();
	forget();
	MUST(reach_begin(1) != NULL);
	MUST(reach_search((uintptr_t)__builtin_frame_address(0)) == 0);
	for (size_t i = 0; i < 6; i++)
		MUST(reach_hidden(i) == (i < 3 ? REACH_CERTAINLY : REACH_NONE));
	reach_end();
}

static void plain(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	assert_string_equal(child_with("guard=on,guard_sizes=40", expect_plain), "");
}

/* ---- Groups */

/* Stacks of their own without as many functions: the depot takes any frames. */
NOINLINE static void many_lose(void)
{
	int times = 3;

	/* Unrolled, the loop would make blocks in three places. */
	__asm__ volatile("" : "+r"(times));
	for (int i = 0; i < times; i++)
		hide_in(0, make(100, GUARD_KIND_MALLOC));
	hide_in(1, make(7, GUARD_KIND_MALLOC));
}

static void expect_groups(void)
{
	struct leaks_found found;

	many_lose();
	forget();
	MUST(leaks_check("a test", false, &found) == 0);
	MUST(found.lost_blocks == 4 && found.lost_bytes == 307 && found.possibly_blocks == 0);
	guarded_free((void *)~hidden[1], &(struct guarded_release){ .call = "free", .size = GUARDED_UNSAID });
	forget();
	MUST(leaks_check("a test", false, &found) == 0);
	MUST(found.lost_blocks == 3 && found.lost_bytes == 300);
}

static void groups(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	const char *said = child(expect_groups);

	assert_non_null(strstr(said, "  lost     307 bytes in 4 blocks; possibly 0 bytes in 0 blocks\n  lost 300 bytes in 3 blocks, "));
	assert_non_null(strstr(said, "\n  lost 7 bytes in 1 block, allocated by\n"));
	assert_non_null(strstr(said, "  lost     300 bytes in 3 blocks; possibly 0 bytes in 0 blocks\n"));
}

/* Each depth of the recursion is a stack of its own. */
NOINLINE static void lose_deep(int depth)
{
	hide_in(0, make(1000 - (size_t)depth, GUARD_KIND_MALLOC));
	if (depth < 7)
		lose_deep(depth + 1);
	__asm__ volatile("");
}

#define TWICE(x) x x
#define SIXTEEN_TIMES(x) TWICE(TWICE(TWICE(TWICE(x))))

static void expect_rest(void)
{
	struct leaks_found found;

	/* 16 places, 6 depths that eight frames tell apart, and deeper. */
	SIXTEEN_TIMES(lose_deep(0);)
	forget();
	MUST(leaks_check("a test", false, &found) == 0);
	MUST(found.lost_blocks == 128);
}

static void rest(void **state UNUSED)
{
	SKIP_EMULATED("no process_vm_readv");
	const char *said = child(expect_rest);
	size_t told = 0;

	for (const char *at = said; (at = strstr(at, ", allocated by\n")) != NULL; at++)
		told++;
	assert_int_equal(told, 64);
	assert_non_null(strstr(said, " in 128 blocks; possibly 0 "));
	const char *others = strstr(said, " other stacks\n");
	assert_non_null(others);
	assert_null(strstr(others + 1, " other stacks\n"));
	/* The largest first. */
	assert_true(strstr(said, "  lost 1000 bytes in 1 block, ") < strstr(said, "  lost 999 bytes in 1 block, "));
	assert_null(strstr(said, "  lost 993 bytes in 1 block, "));
}

/* ---- Threads */

static void *wait_here(void *barrier)
{
	pthread_barrier_wait(barrier);
	for (;;)
		pause();
	return NULL;
}

/* One that looks has the others stopped: nobody else can. */
static void expect_alone(void)
{
	static pthread_barrier_t barrier;
	struct leaks_found found;
	pthread_t thread;

	if (!CHILD_MAY_START_THREADS)
		return;
	pthread_barrier_init(&barrier, NULL, 3);
	for (int i = 0; i < 2; i++)
		MUST(pthread_create(&thread, NULL, wait_here, &barrier) == 0);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 20; i++)
		MUST(leaks_check("a test", true, &found) == 0 && found.lost_blocks == 0 && reach_deaf_threads() == 0);
}

static void alone(void **state UNUSED)
{
	assert_string_equal(child(expect_alone), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reaches), cmocka_unit_test(vectors), cmocka_unit_test(plain), cmocka_unit_test(groups),
		cmocka_unit_test(rest), cmocka_unit_test(alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

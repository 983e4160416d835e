/* fork from a process whose threads allocate: the child's heap is whole, whatever they were doing. */
#include "model/support.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "block/sweep.h"
#include "os/fault.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "space/space.h"
#include "space/span.h"
#include "thread/pool.h"

#define THREAD_COUNT 6
#define KEPT_COUNT 256

/* Blocks of the threads that the child inherits: it checks and frees them. NULL while one is being changed. */
static _Atomic(unsigned char *) kept[THREAD_COUNT][KEPT_COUNT];
static _Atomic bool stop;
static _Atomic size_t running;

static const size_t sizes[] = { 16, 100, 500, 2000, 9000, 33000, 100000, 700000 };

static void fill(unsigned char *block, size_t size)
{
	block[0] = block[size - 1] = (unsigned char)((uintptr_t)block >> 4);
	memcpy(block + 1, &size, sizeof(size));
}

static void check_and_free(unsigned char *block)
{
	size_t size;

	memcpy(&size, block + 1, sizeof(size));
	MUST(block[0] == (unsigned char)((uintptr_t)block >> 4) && block[size - 1] == block[0]);
	quarry_free(block);
}

static void step(struct random *random, _Atomic(unsigned char *) *slot)
{
	size_t size = sizes[random_below(random, random_below(random, 8) == 0 ? 8 : 5)];
	unsigned char *block = atomic_exchange(slot, NULL);

	if (block != NULL) {
		check_and_free(block);
		return;
	}
	block = random_below(random, 2) == 0 ? quarry_malloc(size) : quarry_calloc(1, size);
	MUST(block != NULL);
	fill(block, size);
	block = atomic_exchange(slot, block);
	if (block != NULL)
		check_and_free(block);
}

static void *allocate_all_the_time(void *argument)
{
	size_t index = (size_t)(uintptr_t)argument;
	struct random random = { .state = index + 1 };

	for (size_t i = 0; !atomic_load(&stop); i++) {
		/* Mostly its own row, sometimes another's: frees of foreign blocks. */
		size_t row = random_below(&random, 8) == 0 ? random_below(&random, THREAD_COUNT) : index;
		step(&random, &kept[row][random_below(&random, KEPT_COUNT)]);
		if (random_below(&random, 20000) == 0)
			quarry_trim(0);
		if (i == 1000)
			atomic_fetch_add(&running, 1);
	}
	return NULL;
}

static int count_block(void *block UNUSED, size_t size UNUSED, void *count)
{
	++*(size_t *)count;
	return 0;
}

static void *allocate_some(void *argument UNUSED)
{
	struct random random = { .state = 77 };
	static _Thread_local _Atomic(unsigned char *) mine[64];

	for (size_t i = 0; i < 2000; i++)
		step(&random, &mine[random_below(&random, 64)]);
	for (size_t i = 0; i < 64; i++)
		if (mine[i] != NULL)
			check_and_free(mine[i]);
	return NULL;
}

/* As a child: everything works, inherited blocks can be freed, dead heaps come back, and a child of its own too. */
static void live_as_child(void *argument)
{
	size_t generation = *(size_t *)argument;
	struct random random = { .state = generation + 99 };
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	_Atomic(unsigned char *) mine[64] = { NULL };
	pthread_t threads[3];
	size_t count = 0;

	for (size_t i = 0; i < 2000; i++)
		step(&random, &mine[random_below(&random, 64)]);
	for (size_t i = 0; i < THREAD_COUNT * KEPT_COUNT; i += 2)
		if (kept[i / KEPT_COUNT][i % KEPT_COUNT] != NULL)
			check_and_free(atomic_exchange(&kept[i / KEPT_COUNT][i % KEPT_COUNT], NULL));
	for (size_t i = 0; i < 3 && CHILD_MAY_START_THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, allocate_some, NULL) == 0);
	if (generation < 3) {
		size_t next = generation + 1;
		int status;
		pid_t child = fork();
		MUST(child >= 0);
		if (child == 0) {
			live_as_child(&next);
			_exit(0);
		}
		MUST(waitpid(child, &status, 0) == child);
		MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	for (size_t i = 0; i < 3 && CHILD_MAY_START_THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 1; i < THREAD_COUNT * KEPT_COUNT; i += 2)
		if (kept[i / KEPT_COUNT][i % KEPT_COUNT] != NULL)
			check_and_free(kept[i / KEPT_COUNT][i % KEPT_COUNT]);
	for (size_t i = 0; i < 64; i++)
		if (mine[i] != NULL)
			check_and_free(mine[i]);
	quarry_trim(0);
	/* Every heap whose thread is gone waits for the next: the one in use is this thread's, beside the shared one. */
	MUST(pool_counts().made - pool_counts().pooled <= 2);
	MUST(quarry_stats(&stats) == 0);
	MUST(quarry_walk(count_block, &count) == 0 && count == stats.live_blocks);
	/* What is left is what threads had in hand: one block each and what they were just changing, per generation. */
	MUST(count <= (THREAD_COUNT + 3 * generation) * 2 + 64 * 3 * generation);
	/* Nothing is cached where no thread is, but for what was on its way out of the shared heap. */
	MUST(stats.cached_bytes <= 4 * MIB);
}

static void test_fork_while_threads_allocate(void **state UNUSED)
{
	SKIP_EMULATED("a child of a program with threads can't start any");
	pthread_t threads[THREAD_COUNT];
	size_t generation = 0;

	for (size_t i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate_all_the_time, (void *)(uintptr_t)i), 0);
	while (atomic_load(&running) < THREAD_COUNT)
		sched_yield();
	int status = 0;
	for (size_t i = 0, count = slowdown() == 1 ? rounds(40, 4) : 3; i < count && status == 0; i++)
		status = child_run(live_as_child, &generation, NULL, 0);
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	ASSERT_EXITED(status);
	for (size_t i = 0; i < THREAD_COUNT * KEPT_COUNT; i++)
		if (kept[i / KEPT_COUNT][i % KEPT_COUNT] != NULL)
			check_and_free(kept[i / KEPT_COUNT][i % KEPT_COUNT]);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	quarry_trim(0);
	quarry_stats(&stats);
	assert_int_equal(stats.live_blocks, 0);
	assert_int_equal(stats.slab_count, 0);
}

/* ---- Handlers of others, which allocate while the locks are held ---- */

static void *in_handler;
static size_t handler_calls;

static void handler(void)
{
	handler_calls++;
	for (size_t i = 0; i < 300; i++) {
		void *block = quarry_malloc(sizes[i % 8]);
		MUST(block != NULL);
		memset(block, 1, sizes[i % 8]);
		quarry_free(in_handler);
		in_handler = block;
	}
}

static void nothing(void *argument UNUSED)
{
	MUST(handler_calls == 2);
	quarry_free(in_handler);
}

static void test_handlers_allocate(void **state UNUSED)
{
	assert_int_equal(pthread_atfork(handler, handler, handler), 0);
	ASSERT_EXITED(child_run(nothing, NULL, NULL, 0));
	assert_int_equal(handler_calls, 2);
	quarry_free(in_handler);
	in_handler = NULL;
	handler_calls = 0;
}

/* ---- A child that only frees ---- */

static unsigned char **inherited;
static size_t inherited_count;
static unsigned char *inherited_large, *inherited_huge;

static size_t private_dirty_bytes(void)
{
	char buffer[4096];
	FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
	size_t kib = SIZE_MAX;

	if (rollup == NULL)
		return SIZE_MAX;
	setvbuf(rollup, NULL, _IONBF, 0);
	while (fgets(buffer, sizeof(buffer), rollup) != NULL)
		if (sscanf(buffer, "Private_Dirty: %zu", &kib) == 1)
			break;
	fclose(rollup);
	return kib == SIZE_MAX ? SIZE_MAX : kib * 1024;
}

static uint64_t purge_calls(void)
{
#ifdef QUARRY_DEBUG
	return os_fault_calls(OS_CALL_PURGE);
#else
	return purge_figures().purge_count;
#endif
}

/* Freed in a sandbox's child, say: ledgers change, and nothing else; no call to the kernel. */
static void free_as_child(void *argument UNUSED)
{
	uint64_t purged = purge_calls();
	uint64_t given_back = sweep_figures().given_back_bytes;
	uint64_t sweeps = sweep_figures().sweeps;
	size_t before = private_dirty_bytes();

	for (size_t i = 0; i < inherited_count; i++)
		quarry_free(inherited[i]);
	quarry_free(inherited_large);
	quarry_free(inherited_huge);
	size_t after = private_dirty_bytes();
	MUST(purge_calls() == purged);
	MUST(sweep_figures().given_back_bytes == given_back && sweep_figures().sweeps == sweeps);
	MUST(span_dirty_units() * UNIT_BYTES >= inherited_count * 64 / 2 + 8 * MIB);
	/* What sanitizers and valgrind note of each block is theirs. */
	if (slowdown() == 1 && before != SIZE_MAX) {
		fprintf(stderr, "# Private_Dirty + %zu KiB, of blocks of %zu KiB\n", (after - before) / 1024,
		        inherited_count * 64 / 1024);
		MUST(after - before <= inherited_count * 64 / 8);
	}

	/* From its own first refill on all is as usual: what waits is far more than may be retained. */
	for (size_t i = 0; i < 40000; i++)
		inherited[i % 1000] = quarry_malloc(1000);
	quarry_free(quarry_malloc(MIB));
	for (size_t i = 0; i < 1000; i++)
		quarry_free(inherited[i]);
	MUST(purge_calls() > purged);
	for (size_t i = 0; i < 100; i++)
		quarry_free(quarry_malloc(MIB));
	MUST(span_dirty_units() * UNIT_BYTES <= purge_retained_max() + 4 * MIB);
}

/* Whoever asks is served: that is no purge by itself. */
static void trim_as_child(void *argument UNUSED)
{
	uint64_t purged = purge_calls();

	for (size_t i = 0; i < inherited_count; i++)
		quarry_free(inherited[i]);
	MUST(purge_calls() == purged);
	quarry_trim(0);
	MUST(purge_calls() > purged && span_dirty_units() == 0);
}

/* What may be retained is little, in parent and child. */
static void test_child_that_only_frees(void **state UNUSED)
{
	void *first = quarry_malloc(1);

	purge_configure(4 * MIB, 0, UINT64_MAX, 100);
	sweep_configure(100);
	inherited_count = rounds(1000000, 100000);
	inherited = malloc(inherited_count * sizeof(*inherited));
	assert_non_null(inherited);
	for (size_t i = 0; i < inherited_count; i++) {
		inherited[i] = quarry_malloc(64);
		memset(inherited[i], 1, 64);
	}
	inherited_large = quarry_malloc(200000);
	inherited_huge = quarry_malloc(8 * MIB);
	memset(inherited_huge, 1, 8 * MIB);
	ASSERT_EXITED(child_run(free_as_child, NULL, NULL, 0));
	ASSERT_EXITED(child_run(trim_as_child, NULL, NULL, 0));
	/* The parent is as it was: its frees give back. */
	uint64_t purged = purge_figures().purge_count;
	for (size_t i = 0; i < inherited_count; i++) {
		assert_int_equal(inherited[i][63], 1);
		quarry_free(inherited[i]);
	}
	quarry_free(inherited_large);
	quarry_free(inherited_huge);
	assert_true(purge_figures().purge_count > purged);
	free(inherited);
	quarry_free(first);
	quarry_trim(0);
	purge_configure(16 * MIB, 25, UINT64_MAX, 1000);
	sweep_configure(1000);
}

/* ---- Zero, of a thread that went on while the kernel copied ---- */

enum { THEIR_BYTES = 100 };

static unsigned char *theirs;
static _Atomic bool theirs_made, theirs_seen;

static void *hold_one(void *argument UNUSED)
{
	/* The first calls are the shared heap's, which a fork waits for. */
	for (size_t i = 0; i < 2000; i++)
		quarry_free(quarry_malloc(THEIR_BYTES));
	theirs = quarry_malloc(THEIR_BYTES);
	atomic_store(&theirs_made, true);
	while (!atomic_load(&theirs_seen))
		sched_yield();
	quarry_free(theirs);
	return NULL;
}

/* Their slab says that its other blocks were never handed out, and they were written: the page with the ledger was copied
 * before the block's. */
static void calloc_as_child(void *argument UNUSED)
{
	const struct span *slab = span_of(theirs);
	uintptr_t fresh = slab->base + slab->fresh_index * (uintptr_t)slab->block_bytes;
	uintptr_t end = slab->base + slab->end_index * (uintptr_t)slab->block_bytes;
	size_t found = 0;

	MUST(slab->born_zero && fresh < end);
	memset((void *)fresh, 0xff, end - fresh);
	for (size_t i = 0; i < 20000 && found == 0; i++) {
		unsigned char *block = quarry_calloc(1, THEIR_BYTES);
		MUST(block != NULL);
		for (size_t at = 0; at < THEIR_BYTES; at++)
			MUST(block[at] == 0);
		found += (uintptr_t)block - fresh < end - fresh;
	}
	MUST(found > 0);
}

static void test_calloc_of_dead_slabs(void **state UNUSED)
{
	pthread_t thread;

	skip_where(MEMCHECK_BUILD, "valgrind complains of what is written outside of blocks");
	quarry_free(quarry_malloc(1));
	assert_int_equal(pthread_create(&thread, NULL, hold_one, NULL), 0);
	while (!atomic_load(&theirs_made))
		sched_yield();
	ASSERT_EXITED(child_run(calloc_as_child, NULL, NULL, 0));
	atomic_store(&theirs_seen, true);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calloc_of_dead_slabs),    /* first: memory is fresh */
		cmocka_unit_test(test_child_that_only_frees),
		cmocka_unit_test(test_fork_while_threads_allocate),
		cmocka_unit_test(test_handlers_allocate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

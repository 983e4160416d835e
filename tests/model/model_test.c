/* The whole allocator against a shadow of what it has handed out: millions of random calls of every entry point, by one
 * thread and by several that hand blocks to each other. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/memcheck.h"
#include "block/secure.h"
#include "block/sizeclass.h"
#include "block/sweep.h"
#include "os/fault.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "space/space.h"

/* ---- Contents: each byte follows from the block's key and its place ---- */

static unsigned char pattern(uint32_t key, size_t at)
{
	return (unsigned char)(key * 131 + at * 7 + (at >> 8) + 1);
}

/* The edges whole, the middle in steps: blocks overlap at their edges. */
static size_t next_place(size_t at, size_t bytes)
{
	return at < 256 || at + 256 >= bytes ? at + 1 : min_size(at + 509, bytes - 256);
}

static void fill(unsigned char *block, uint32_t key, size_t bytes)
{
	for (size_t at = 0; at < bytes; at = next_place(at, bytes))
		block[at] = pattern(key, at);
}

static void check_filled(const unsigned char *block, uint32_t key, size_t filled, size_t bytes)
{
	for (size_t at = 0; at < bytes; at = next_place(at, filled))
		MUST(block[at] == pattern(key, at));
}

static void check_zero(const unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at++)
		MUST(block[at] == 0);
}

/* ---- Sizes and alignments ---- */

static size_t draw_size(struct random *random)
{
	switch (random_below(random, 16)) {
	case 0:
		return random_below(random, 3);
	case 1: case 2: case 3: case 4: case 5:
		return 1 + random_below(random, 256);
	case 6: case 7: case 8:
		return 1 + random_below(random, 4096);
	case 9: case 10:
		return 1 + random_below(random, 40000);
	case 11: case 12: case 13: /* a class's size and its neighbours */
		return size_classes[random_below(random, CLASS_COUNT)].size - 1 + random_below(random, 3);
	case 14: /* whole units and their neighbours */
		return (1 + random_below(random, 5)) * UNIT_BYTES - 1 + random_below(random, 3);
	default:
		return random_below(random, 12) == 0 ? random_below(random, 3 * MIB) : 32000 + random_below(random, 200000);
	}
}

static size_t draw_alignment(struct random *random)
{
	return (size_t)1 << random_below(random, random_below(random, 20) == 0 ? 19 : 13);
}

/* One block from any of the entry points, its promise checked. *usable: what may be used. */
static unsigned char *allocate(struct random *random, size_t *usable)
{
	size_t size = draw_size(random);
	size_t alignment = draw_alignment(random);
	size_t page = os_page_bytes();
	bool zeroed = false;
	void *block = NULL;

	switch (random_below(random, 12)) {
	case 0: case 1: case 2: case 3:
		alignment = 16;
		block = quarry_malloc(size);
		MUST(quarry_usable_size(block) == quarry_good_size(size));
		break;
	case 4: case 5: {
		size_t count = 1 + random_below(random, 5);
		alignment = 16;
		zeroed = true;
		block = quarry_calloc(count, size / count);
		size = count * (size / count);
		break;
	}
	case 6:
		alignment = 16;
		block = quarry_realloc(NULL, size);
		break;
	case 7:
		alignment = 16;
		block = quarry_reallocarray(NULL, size, 1);
		break;
	case 8:
		block = random_below(random, 2) == 0 ? quarry_aligned_alloc(alignment, size) : quarry_memalign(alignment, size);
		break;
	case 9:
		/* Not a power of two: rounded up. */
		block = quarry_memalign(alignment - alignment / 4, size);
		alignment = max_size(alignment - alignment / 4, 1);
		alignment = power_of_two_ceil(alignment);
		break;
	case 10:
		alignment = max_size(alignment, sizeof(void *));
		MUST(quarry_posix_memalign(&block, alignment, size) == 0);
		break;
	default:
		alignment = page;
		if (random_below(random, 2) == 0) {
			block = quarry_valloc(size);
		} else {
			block = quarry_pvalloc(size);
			size = ROUND_UP(size, page);
		}
	}
	MUST(block != NULL);
	MUST(IS_ALIGNED((uintptr_t)block, max_size(alignment, 16)));
	*usable = quarry_usable_size(block);
	MUST(*usable >= size);
	if (zeroed)
		check_zero(block, size);
	return block;
}

static void give_back(struct random *random, void *block)
{
	switch (random_below(random, 6)) {
	case 0:
		quarry_free_sized(block, random_next(random));
		break;
	case 1:
		quarry_free_aligned_sized(block, random_next(random), random_next(random));
		break;
	case 2:
		MUST(quarry_realloc(block, 0) == NULL);
		break;
	default:
		quarry_free(block);
	}
}

/* ---- One thread: the shadow is a table of blocks ---- */

struct shadow {
	unsigned char *block;
	size_t usable;
	uint32_t key;
};

#define SHADOW_COUNT ((size_t)4000)

static struct shadow shadows[SHADOW_COUNT];
static size_t live_blocks;
static uint64_t live_bytes;

static void shadow_set(struct shadow *shadow, unsigned char *block, size_t usable, uint32_t key)
{
	*shadow = (struct shadow){ block, usable, key };
	fill(block, key, usable);
	live_blocks++;
	live_bytes += usable;
}

static void shadow_clear(struct shadow *shadow)
{
	live_blocks--;
	live_bytes -= shadow->usable;
	shadow->block = NULL;
}

static int by_address(const void *a, const void *b)
{
	uintptr_t first = (uintptr_t)((const struct shadow *)a)->block;
	uintptr_t second = (uintptr_t)((const struct shadow *)b)->block;

	return first < second ? -1 : first > second;
}

static struct shadow sorted[SHADOW_COUNT];
static size_t visited;

static int visit(void *block, size_t size, void *context)
{
	MUST(context == &visited);
	MUST(visited < live_blocks);
	MUST(sorted[visited].block == block && sorted[visited].usable == size);
	visited++;
	return 0;
}

static int stop_at_third(void *block UNUSED, size_t size UNUSED, void *context)
{
	return ++*(size_t *)context == 3 ? 4711 : 0;
}

/* The blocks do not overlap, a walk finds exactly them, and the figures agree. */
static void check_whole(void)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t count = 0, third = 0;

	for (size_t i = 0; i < SHADOW_COUNT; i++)
		if (shadows[i].block != NULL)
			sorted[count++] = shadows[i];
	MUST(count == live_blocks);
	qsort(sorted, count, sizeof(sorted[0]), by_address);
	for (size_t i = 1; i < count; i++)
		MUST(sorted[i - 1].block + sorted[i - 1].usable <= sorted[i].block);
	visited = 0;
	MUST(quarry_walk(visit, &visited) == 0);
	MUST(visited == count);
	if (count >= 3)
		MUST(quarry_walk(stop_at_third, &third) == 4711 && third == 3);
	MUST(quarry_stats(&stats) == 0);
	MUST(stats.live_blocks == live_blocks);
	/* With a security level what may be used is what was asked for, and what is counted the whole. */
	MUST(secure.on ? stats.live_bytes >= live_bytes : stats.live_bytes == live_bytes);
	MUST(stats.live_bytes + stats.cached_bytes + stats.free_in_slab_bytes <= stats.slab_bytes + stats.large_span_bytes);
	MUST(stats.dirty_bytes + stats.clean_bytes + stats.slab_bytes + stats.large_span_bytes <= stats.committed_bytes);
	MUST(stats.committed_bytes <= stats.reserved_bytes);
}

static void check_description(struct random *random, const struct shadow *shadow)
{
	size_t offset = random_below(random, 4) == 0 ? 0 : random_below(random, max_size(shadow->usable, 1));
	struct quarry_description description = quarry_describe(shadow->block + offset);

	MUST(description.kind == QUARRY_LIVE);
	MUST(description.block == shadow->block && description.size == shadow->usable && description.offset == offset);
	MUST(description.large == (region_of(shadow->block) != NULL && span_of(shadow->block)->kind == SPAN_LARGE));
	MUST(!description.fresh);
}

static void check_freed(const void *block)
{
	enum quarry_kind kind = quarry_describe(block).kind;

	MUST(kind == QUARRY_FREE || kind == QUARRY_UNUSED);
}

static void step_resize(struct random *random, struct shadow *shadow)
{
	/* Mostly near what it is, so that blocks grow and shrink in place. */
	size_t size = random_below(random, 2) == 0 ? draw_size(random)
	                                           : 1 + random_below(random, shadow->usable * 2 + 1);
	struct shadow old = *shadow;
	unsigned char *block;

	if (size == 0)
		size = 1;
	errno = 4711;
	if (random_below(random, 40) == 0) {
		static const size_t impossible[] = { SIZE_MAX, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, (size_t)1 << 60 };
		MUST(quarry_realloc(old.block, impossible[random_below(random, 4)]) == NULL && errno == ENOMEM);
		errno = ENOMEM + 1;
		MUST(quarry_reallocarray(old.block, hide(SIZE_MAX / 2), 3) == NULL && errno == ENOMEM);
		MUST(quarry_usable_size(old.block) == old.usable);
		check_filled(old.block, old.key, old.usable, old.usable);
		return;
	}
	if (random_below(random, 2) == 0)
		block = quarry_realloc(old.block, size);
	else
		block = quarry_reallocarray(old.block, size, 1);
	MUST(block != NULL && errno == 4711 && IS_ALIGNED((uintptr_t)block, 16));
	size_t usable = quarry_usable_size(block);
	MUST(usable >= size);
	check_filled(block, old.key, old.usable, min_size(old.usable, size));
	if (block != old.block && random_below(random, 4) == 0)
		check_freed(old.block);
	shadow_clear(shadow);
	shadow_set(shadow, block, usable, (uint32_t)random_next(random));
}

static void step_impossible(struct random *random)
{
	void *block = random;

	switch (random_below(random, 8)) {
	case 0: MUST((errno = 0, quarry_malloc(hide(SIZE_MAX))) == NULL && errno == ENOMEM); break;
	case 1: MUST((errno = 0, quarry_malloc(hide((size_t)PTRDIFF_MAX + 1))) == NULL && errno == ENOMEM); break;
	case 2: MUST((errno = 0, quarry_calloc(hide(SIZE_MAX / 3), 4)) == NULL && errno == ENOMEM); break;
	case 3: MUST((errno = 0, quarry_pvalloc(hide(SIZE_MAX - 10))) == NULL && errno == ENOMEM); break;
	case 4: MUST((errno = 0, quarry_memalign(hide(SIZE_MAX / 2 + 2), 8)) == NULL && errno == EINVAL); break;
	case 5: MUST(quarry_posix_memalign(&block, 24, 8) == EINVAL && block == random); break;
	case 6: MUST(quarry_posix_memalign(&block, 64, SIZE_MAX) == ENOMEM && block == random); break;
	default: MUST((errno = 0, quarry_aligned_alloc(65536, hide(SIZE_MAX - 65536))) == NULL && errno == ENOMEM); break;
	}
	MUST(quarry_good_size((size_t)PTRDIFF_MAX + 1) == 0 && quarry_usable_size(NULL) == 0);
}

/* `between` is called at each step, if there is one. */
static void run_one_thread(uint64_t seed, size_t count, void (*between)(struct random *))
{
	struct random random = random_start(seed);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	quarry_stats(&stats);
	assert_int_equal(stats.live_blocks, 0);
	for (size_t i = 0; i < count; i++) {
		/* Phases that fill the table and phases that empty it. */
		struct shadow *shadow = &shadows[random_below(&random, SHADOW_COUNT)];
		bool filling = i / 40000 % 2 == 0;
		if (between != NULL)
			between(&random);
		if (shadow->block == NULL) {
			if (!filling && random_below(&random, 4) != 0)
				continue;
			size_t usable;
			errno = 4711;
			unsigned char *block = allocate(&random, &usable);
			MUST(errno == 4711);
			shadow_set(shadow, block, usable, (uint32_t)random_next(&random));
			continue;
		}
		size_t choice = random_below(&random, 32);
		if (choice < 4) {
			step_resize(&random, shadow);
		} else if (choice < 8) {
			check_description(&random, shadow);
		} else if (choice < (filling ? 16 : 30)) {
			unsigned char *block = shadow->block;
			check_filled(block, shadow->key, shadow->usable, shadow->usable);
			shadow_clear(shadow);
			give_back(&random, block);
			if (choice == 8)
				check_freed(block);
		} else if (choice == 31 && random_below(&random, 64) == 0) {
			step_impossible(&random);
		}
		if (random_below(&random, 20000) == 0)
			quarry_trim(random_below(&random, 2) * MIB);
		if (random_below(&random, 10000) == 0)
			check_whole();
	}
	check_whole();
	for (size_t i = 0; i < SHADOW_COUNT; i++)
		if (shadows[i].block != NULL) {
			check_filled(shadows[i].block, shadows[i].key, shadows[i].usable, shadows[i].usable);
			unsigned char *block = shadows[i].block;
			shadow_clear(&shadows[i]);
			quarry_free(block);
		}
	check_whole();
	if (between != NULL)
		between(NULL);
	quarry_trim(0);
	assert_int_equal(quarry_stats(&stats), 0);
	/* Nothing in use, nothing kept: every slab went back. */
	assert_int_equal(stats.slab_count, 0);
	assert_int_equal(stats.large_span_bytes, 0);
	assert_int_equal(stats.dirty_bytes, 0);
}

/* Fewer where a security level is tried (tests/secure/attacks.sh): the rest is as without one. */
static size_t steps(size_t usual, size_t least)
{
	return rounds(secure.on ? usual / 8 : usual, least);
}

static void test_one_thread(void **state UNUSED)
{
	run_one_thread(10, steps(2500000, 20000), NULL);
}

/* The same while the kernel refuses to take memory back, always or now and then, and to map it afresh: what was to be
 * given back is kept as it is, and goes when the kernel takes it. NULL: no more. */
#ifdef QUARRY_DEBUG
static void refuse_now_and_then(struct random *random)
{
	static const uint32_t chances[] = { 0, 50000, 500000, OS_FAULT_ALWAYS };
	static const enum os_call calls[] = { OS_CALL_PURGE, OS_CALL_REMAP_FRESH, OS_CALL_MOVE, OS_CALL_UNCOMMIT };
	static const int errors[] = { EINVAL, ENOMEM, EAGAIN };

	if (random == NULL) {
		for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
			MUST(os_fault_failed(calls[i]) > 0);
		os_fault_reset(1);
		return;
	}
	if (random_below(random, 500) == 0)
		sweep_all((enum slab_sweep)random_below(random, 3), false);
	if (random_below(random, 1000) == 0)
		os_fault_set(OS_CALL_PURGE, (struct os_fault){ .per_million = chances[random_below(random, 4)],
		                                               .error = errors[random_below(random, 3)] });
	if (random_below(random, 500) == 0)
		purge_all(0);
	if (random_below(random, 1000) == 0)
		os_fault_set(OS_CALL_UNCOMMIT, (struct os_fault){ .per_million = chances[random_below(random, 4)],
		                                                  .error = errors[random_below(random, 3)] });
	/* Not both at once: what can be neither moved nor made whole again stays out of use. */
	if (random_below(random, 1000) == 0) {
		enum os_call which = calls[1 + random_below(random, 2)];
		os_fault_set(OS_CALL_REMAP_FRESH, (struct os_fault){ 0 });
		os_fault_set(OS_CALL_MOVE, (struct os_fault){ 0 });
		os_fault_set(which, (struct os_fault){ .per_million = chances[random_below(random, 4)], .error = ENOMEM });
	}
}
#endif

static void test_one_thread_refused(void **state UNUSED)
{
#ifdef QUARRY_DEBUG
	purge_configure(1 * MIB, 0, UINT64_MAX, 10);
	sweep_configure(10);
	os_fault_reset(13);
	run_one_thread(13, steps(1600000, 50000), refuse_now_and_then);
	purge_configure(16 * MIB, 25, UINT64_MAX, 1000);
	sweep_configure(1000);
#else
	print_message("# skipped: debug builds alone can make a call fail\n");
	skip();
#endif
}

/* ---- What a program writes where it must not changes no decision ---- */

/* Of neighbours in a slab all bytes are overwritten, also of free ones, and again after each step. */
static void test_stray_writes(void **state UNUSED)
{
	/* memcheck reports each of them, as it should. */
	if (MEMCHECK_BUILD || secure.on) {
		print_message("# skipped: %s\n", secure.on ? "a security level reports it" : "memcheck forbids what is tried here");
		skip();
	}
	struct random random = random_start(11);
	static unsigned char *blocks[512];

	for (size_t i = 0; i < rounds(300000, 4000); i++) {
		size_t slot = random_below(&random, 512);
		size_t size = size_classes[slot % 8 * 3].size;
		if (blocks[slot] == NULL) {
			unsigned char *block = blocks[slot] = quarry_malloc(size);
			assert_non_null(block);
			assert_true(quarry_usable_size(block) == size);
			for (size_t other = slot % 8; other < 512; other += 8)
				if (other != slot && blocks[other] != NULL)
					assert_true(block + size <= blocks[other] || blocks[other] + size <= block);
		} else {
			unsigned char *block = blocks[slot];
			quarry_free(block);
			blocks[slot] = NULL;
		}
		/* The whole slab around some block, its free blocks too. */
		if (i % 64 == 0 && blocks[slot] != NULL) {
			struct span *slab = span_of(blocks[slot]);
			memset((void *)slab->start, (int)random_next(&random), slab->units * UNIT_BYTES);
		}
	}
	for (size_t i = 0; i < 512; i++)
		quarry_free(blocks[i]);
}

/* ---- Threads: blocks go through a ring, each with its shadow in a header of its own ---- */

struct header {
	uint32_t key;
	uint32_t check;                 /* of key and size */
	size_t usable;
};

#define THREAD_COUNT 4
#define RING_SIZE 512

static _Atomic(struct header *) ring[RING_SIZE];
static size_t steps_per_life;

static uint32_t header_check(const struct header *header)
{
	return header->key * 2654435761u ^ (uint32_t)header->usable ^ 0x5bd1e995u;
}

static void wrap(struct random *random, unsigned char *block, size_t usable)
{
	struct header *header = (struct header *)block;

	header->key = (uint32_t)random_next(random);
	header->usable = usable;
	header->check = header_check(header);
	fill(block + sizeof(*header), header->key, usable - sizeof(*header));
}

static void check_wrapped(const struct header *header, size_t bytes)
{
	MUST(header->check == header_check(header));
	check_filled((const unsigned char *)(header + 1), header->key, header->usable - sizeof(*header),
	             bytes - sizeof(*header));
}

static struct header *work_on(struct random *random, struct header *header)
{
	size_t usable;

	if (header == NULL) {
		unsigned char *block = allocate(random, &usable);
		/* With a security level there is no more than was asked for. */
		if (usable < sizeof(*header)) {
			usable = sizeof(*header);
			block = quarry_realloc(block, usable);
			MUST(block != NULL);
		}
		wrap(random, block, usable);
		return (struct header *)block;
	}
	check_wrapped(header, header->usable);
	MUST(quarry_usable_size(header) == header->usable);
	switch (random_below(random, 8)) {
	case 0: case 1: {
		size_t size = sizeof(*header) + draw_size(random);
		size_t kept = min_size(header->usable, size);
		header = quarry_realloc(header, size);
		MUST(header != NULL);
		check_wrapped(header, kept);
		wrap(random, (unsigned char *)header, quarry_usable_size(header));
		return header;
	}
	case 2: {
		struct quarry_description description = quarry_describe((char *)header + header->usable / 2);
		MUST(description.kind == QUARRY_LIVE && description.block == header);
		return header;
	}
	default:
		give_back(random, header);
		return NULL;
	}
}

static void *life(void *argument)
{
	struct random random = { .state = (uintptr_t)argument };

	for (size_t i = 0; i < steps_per_life; i++) {
		_Atomic(struct header *) *slot = &ring[random_below(&random, RING_SIZE)];
		struct header *header = atomic_exchange(slot, NULL);
		header = work_on(&random, header);
		header = atomic_exchange(slot, header);
		/* Somebody else was as quick. */
		if (header != NULL) {
			check_wrapped(header, header->usable);
			give_back(&random, header);
		}
		if (random_below(&random, 50000) == 0)
			quarry_trim(0);
	}
	return NULL;
}

static void test_threads(void **state UNUSED)
{
	struct random random = random_start(12);
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t lives = slowdown() >= 10 ? 3 : 20;
	size_t live = 0;

	/* Lives of all lengths: threads that never get a heap of their own, and threads that do. */
	for (size_t round = 0; round < lives; round++) {
		pthread_t threads[THREAD_COUNT];
		steps_per_life = round % 4 == 3 ? 100 : steps(1000000, 8000) / lives;
		for (size_t i = 0; i < THREAD_COUNT; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, life, (void *)(uintptr_t)(random_next(&random) | 1)), 0);
		for (size_t i = 0; i < THREAD_COUNT; i++)
			pthread_join(threads[i], NULL);
		for (size_t i = 0, count = live = 0; i < RING_SIZE; i++, count++)
			if (ring[i] != NULL) {
				check_wrapped(ring[i], ring[i]->usable);
				live++;
			}
		assert_int_equal(quarry_stats(&stats), 0);
		assert_int_equal(stats.live_blocks, live);
	}
	assert_true(stats.heap_count <= THREAD_COUNT + 3);
	for (size_t i = 0; i < RING_SIZE; i++)
		quarry_free(ring[i]);
	quarry_trim(0);
	assert_int_equal(quarry_stats(&stats), 0);
	assert_int_equal(stats.live_blocks, 0);
	assert_int_equal(stats.cached_bytes, 0);
	assert_int_equal(stats.slab_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_thread),
		cmocka_unit_test(test_one_thread_refused),
		cmocka_unit_test(test_stray_writes),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The main paths of an allocator, each as a pattern of public calls that always takes it: what bench/instructions/count
 * runs under callgrind.
 *
 *   paths                  lists the paths: name, operations per round, rounds, steady or growing, what it is
 *   paths NAME ROUNDS      runs it three times: twice ROUNDS rounds, which set everything up, ROUNDS, twice ROUNDS;
 *                          callgrind dumps and zeroes its counts after each. 77: a function is missing here
 *
 * Counting is on between start() and stop() only; what this file itself executes is left out by its object, so whatever
 * runs there besides the calls is free. Nothing depends on time or on an address. Linked with libc alone; the
 * allocator is preloaded. Nothing here may allocate on the side (stdio, qsort): raw futexes hand over to the partner. */
#include <dlfcn.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)
#define EXIT_MISSING 77
#define SLOTS_MAX 65536

struct path {
	const char *name;
	const char *what;
	size_t rounds;                  /* as many as make a start-up effect invisible, as few as the time allows */
	size_t operations;              /* of a round, that are counted */
	void (*run)(const struct path *path, size_t rounds);
	void *(*take)(size_t bytes);
	void (*give)(void *block, size_t bytes);
	size_t bytes;
	size_t bytes_to;                /* of a second size */
};

static void *slots[SLOTS_MAX];

static inline void start(void) { CALLGRIND_TOGGLE_COLLECT; }
static inline void stop(void) { CALLGRIND_TOGGLE_COLLECT; }

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "paths: %s\n", what);
	exit(1);
}

static uint64_t random_state;

/* xorshift64*; its state is set by each run, so that all runs see the same numbers. */
static size_t random_below(size_t bound)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1du >> 32) * bound >> 32);
}

static void shuffle(void **blocks, size_t count)
{
	for (size_t i = count; i > 1; i--) {
		size_t other = random_below(i);
		void *block = blocks[other];
		blocks[other] = blocks[i - 1];
		blocks[i - 1] = block;
	}
}

/* Shell's, because qsort may allocate. */
static void sort(void **blocks, size_t count)
{
	for (size_t gap = count / 2; gap > 0; gap /= 2)
		for (size_t i = gap; i < count; i++) {
			void *block = blocks[i];
			size_t at = i;
			for (; at >= gap && (uintptr_t)blocks[at - gap] > (uintptr_t)block; at -= gap)
				blocks[at] = blocks[at - gap];
			blocks[at] = block;
		}
}

/* ---- The calls */

typedef void *take_aligned_function(size_t bytes, size_t alignment);
typedef void give_aligned_function(void *block, size_t bytes, size_t alignment);

/* libstdc++'s, or the allocator's; NULL in a C program without either. */
static void *(*operator_new)(size_t);
static void (*operator_delete)(void *);
static void (*operator_delete_sized)(void *, size_t);
static take_aligned_function *operator_new_aligned;
static give_aligned_function *operator_delete_aligned;

static void find_operators(void)
{
	*(void **)&operator_new = dlsym(RTLD_DEFAULT, "_Znwm");
	*(void **)&operator_delete = dlsym(RTLD_DEFAULT, "_ZdlPv");
	*(void **)&operator_delete_sized = dlsym(RTLD_DEFAULT, "_ZdlPvm");
	*(void **)&operator_new_aligned = dlsym(RTLD_DEFAULT, "_ZnwmSt11align_val_t");
	*(void **)&operator_delete_aligned = dlsym(RTLD_DEFAULT, "_ZdlPvmSt11align_val_t");
	if (operator_new == NULL || operator_delete == NULL || operator_delete_sized == NULL ||
	    operator_new_aligned == NULL || operator_delete_aligned == NULL)
		exit(EXIT_MISSING);
}

static void *take_malloc(size_t bytes) { return malloc(bytes); }
static void *take_calloc(size_t bytes) { return calloc(1, bytes); }
static void *take_line(size_t bytes) { return aligned_alloc(64, bytes); }
static void *take_page(size_t bytes) { return aligned_alloc(4096, bytes); }
static void *take_new(size_t bytes) { return operator_new(bytes); }
static void *take_new_aligned(size_t bytes) { return operator_new_aligned(bytes, 64); }
static void *take_nothing(size_t bytes) { (void)bytes; return NULL; }

static void give_free(void *block, size_t bytes) { (void)bytes; free(block); }
static void give_delete(void *block, size_t bytes) { (void)bytes; operator_delete(block); }
static void give_delete_sized(void *block, size_t bytes) { operator_delete_sized(block, bytes); }
static void give_delete_aligned(void *block, size_t bytes) { operator_delete_aligned(block, bytes, 64); }

static void *take(const struct path *path, size_t bytes)
{
	void *block = path->take(bytes);

	if (block == NULL && path->take != take_nothing)
		fail("no memory");
	return block;
}

static void give(const struct path *path, void *block)
{
	path->give(block, path->bytes);
}

/* ---- One thread */

/* A block is taken and given at once. */
static void run_pair(const struct path *path, size_t rounds)
{
	if (path->take == take_new || path->take == take_new_aligned)
		find_operators();
	start();
	for (size_t i = 0; i < rounds; i++)
		give(path, take(path, path->bytes));
	stop();
}

static void run_take_alone(const struct path *path, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		start();
		void *block = take(path, path->bytes);
		stop();
		give(path, block);
	}
}

static void run_give_alone(const struct path *path, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		void *block = take(path, path->bytes);
		start();
		give(path, block);
		stop();
	}
}

/* Blocks are taken one after the other, and given in the same order: the slabs they lie in are made and come apart. */
static void build_up(const struct path *path, size_t rounds, int counts_takes)
{
	size_t count = rounds * path->operations;

	if (count > SLOTS_MAX)
		fail("too many blocks");
	if (counts_takes)
		start();
	for (size_t i = 0; i < count; i++)
		slots[i] = take(path, path->bytes);
	if (counts_takes)
		stop();
	else
		start();
	for (size_t i = 0; i < count; i++)
		give(path, slots[i]);
	if (!counts_takes)
		stop();
}

static void run_fill(const struct path *path, size_t rounds) { build_up(path, rounds, 1); }
static void run_empty(const struct path *path, size_t rounds) { build_up(path, rounds, 0); }

/* What is taken is kept for ever, so memory is always fresh. */
static void run_leak(const struct path *path, size_t rounds)
{
	start();
	for (size_t i = 0; i < rounds * path->operations; i++)
		take(path, path->bytes);
	stop();
}

/* Of many blocks some are given and taken again; the others keep all slabs alive. The first path->operations slots
 * are those that change. Neighbours: 31 of 32 of some, in the order of addresses. Scattered: one in eight of many, at
 * random. */
static void churn(const struct path *path, size_t rounds, int scattered, int counts_takes)
{
	static int made;
	size_t changing = path->operations;
	size_t all = scattered ? changing * 8 : changing / 31 * 32;

	if (!made) {
		made = 1;
		for (size_t i = 0; i < all; i++)
			slots[i] = take(path, path->bytes);
		if (scattered) {
			shuffle(slots, all);
		} else {
			sort(slots, all);
			for (size_t from = 0, to = 0; from < all; from++)
				if (from % 32 != 0)
					slots[to++] = slots[from];
		}
	}
	for (size_t round = 0; round < rounds; round++) {
		if (scattered)
			shuffle(slots, changing);
		else
			sort(slots, changing);
		if (!counts_takes)
			start();
		for (size_t i = 0; i < changing; i++)
			give(path, slots[i]);
		if (!counts_takes)
			stop();
		else
			start();
		for (size_t i = 0; i < changing; i++)
			slots[i] = take(path, path->bytes);
		if (counts_takes)
			stop();
	}
}

static void run_refill(const struct path *path, size_t rounds) { churn(path, rounds, 0, 1); }
static void run_drop(const struct path *path, size_t rounds) { churn(path, rounds, 0, 0); }
static void run_refill_scattered(const struct path *path, size_t rounds) { churn(path, rounds, 1, 1); }
static void run_drop_scattered(const struct path *path, size_t rounds) { churn(path, rounds, 1, 0); }

/* Blocks of random sizes from `bytes` to `bytes_to`, of which a random one is replaced at a time. */
static void run_replace(const struct path *path, size_t rounds)
{
	static int made;
	size_t live = path->bytes_to > 64 * KIB ? 128 : 4096;

	start();
	for (size_t i = 0; i < (made ? rounds : live); i++) {
		size_t at = made ? random_below(live) : i;
		give(path, slots[at]);
		slots[at] = take(path, path->bytes + random_below(path->bytes_to - path->bytes));
	}
	stop();
	made = 1;
}

/* ---- realloc and others */

static void *resize(void *block, size_t bytes)
{
	block = realloc(block, bytes);
	if (block == NULL)
		fail("no memory");
	return block;
}

/* To the second size and back. */
static void run_resize(const struct path *path, size_t rounds)
{
	void *block = take(path, path->bytes);

	start();
	for (size_t i = 0; i < rounds; i++) {
		block = resize(block, path->bytes_to);
		block = resize(block, path->bytes);
	}
	stop();
	give(path, block);
}

/* As a vector grows: from 16 bytes, doubled path->operations times. */
static void run_resize_double(const struct path *path, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		void *block = take(path, path->bytes);
		start();
		for (size_t step = 1; step <= path->operations; step++)
			block = resize(block, path->bytes << step);
		stop();
		give(path, block);
	}
}

/* As a string grows: path->operations times by as much again. */
static void run_resize_append(const struct path *path, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++) {
		void *block = take(path, path->bytes);
		start();
		for (size_t step = 1; step <= path->operations; step++)
			block = resize(block, path->bytes * (step + 1));
		stop();
		give(path, block);
	}
}

/* Neighbours are in the way. */
static void run_resize_move(const struct path *path, size_t rounds)
{
	enum { NEIGHBOURS = 4 };

	for (size_t i = 0; i < rounds; i++) {
		for (size_t n = 0; n < NEIGHBOURS; n++)
			slots[n] = take(path, path->bytes);
		start();
		slots[0] = resize(slots[0], path->bytes_to);
		stop();
		for (size_t n = 0; n < NEIGHBOURS; n++)
			give(path, slots[n]);
	}
}

static void run_usable(const struct path *path, size_t rounds)
{
	void *block = take(path, path->bytes);

	start();
	for (size_t i = 0; i < rounds; i++)
		if (malloc_usable_size(block) < path->bytes)
			fail("malloc_usable_size is too small");
	stop();
	give(path, block);
}

/* ---- Two threads: one takes what the other gives */

static const struct path *shared_path;
static int baton;                       /* whose turn: 0 main, 1 partner, 2 the end */

static void baton_pass(int to)
{
	__atomic_store_n(&baton, to, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &baton, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void baton_await(int unless)
{
	while (__atomic_load_n(&baton, __ATOMIC_SEQ_CST) == unless)
		syscall(SYS_futex, &baton, FUTEX_WAIT_PRIVATE, unless, NULL, NULL, 0);
}

static void take_all(const struct path *path)
{
	for (size_t i = 0; i < path->operations; i++)
		slots[i] = take(path, path->bytes);
}

static void give_all(const struct path *path)
{
	for (size_t i = 0; i < path->operations; i++)
		give(path, slots[i]);
}

/* Enough of its own calls that every allocator gives the thread what threads get. */
static void settle_in(const struct path *path)
{
	for (int i = 0; i < 1000; i++)
		give(path, take(path, path->bytes));
}

static void *partner_takes(void *argument)
{
	settle_in(shared_path);
	for (baton_pass(0), baton_await(0); baton == 1; baton_pass(0), baton_await(0))
		take_all(shared_path);
	return argument;
}

static void *partner_gives(void *argument)
{
	settle_in(shared_path);
	for (baton_pass(0), baton_await(0); baton == 1; baton_pass(0), baton_await(0))
		give_all(shared_path);
	return argument;
}

static void with_partner(const struct path *path, size_t rounds, int partner_is_owner)
{
	pthread_t partner;

	shared_path = path;
	baton = 1;
	if (pthread_create(&partner, NULL, partner_is_owner ? partner_takes : partner_gives, NULL) != 0)
		fail("no thread");
	baton_await(1);
	settle_in(path);
	for (size_t i = 0; i < rounds; i++) {
		if (!partner_is_owner) {
			start();
			take_all(path);
			stop();
		}
		baton_pass(1);
		baton_await(1);
		if (partner_is_owner) {
			start();
			give_all(path);
			stop();
		}
	}
	baton_pass(2);
	pthread_join(partner, NULL);
}

static void run_remote_give(const struct path *path, size_t rounds) { with_partner(path, rounds, 1); }
static void run_remote_take(const struct path *path, size_t rounds) { with_partner(path, rounds, 0); }

/* A thread that lives for a few calls. */
static void *short_life(void *argument)
{
	start();
	for (size_t i = 0; i < shared_path->operations; i++)
		give(shared_path, take(shared_path, shared_path->bytes));
	stop();
	return argument;
}

static void run_new_thread(const struct path *path, size_t rounds)
{
	pthread_t thread;

	shared_path = path;
	for (size_t i = 0; i < rounds; i++) {
		if (pthread_create(&thread, NULL, short_life, NULL) != 0)
			fail("no thread");
		pthread_join(thread, NULL);
	}
}

/* ---- The table */

#define FREE take_malloc, give_free

static const struct path paths[] = {
	{ "malloc-hit", "malloc(100) from the thread's cache", 1000, 1, run_take_alone, FREE, 100, 0 },
	{ "free-hit", "its free", 1000, 1, run_give_alone, FREE, 100, 0 },
	{ "pair-16", "malloc(16) and free at once", 1000, 1, run_pair, FREE, 16, 0 },
	{ "pair-100", "100 bytes", 1000, 1, run_pair, FREE, 100, 0 },
	{ "pair-1000", "1,000 bytes", 1000, 1, run_pair, FREE, 1000, 0 },
	{ "pair-9000", "9,000 bytes", 1000, 1, run_pair, FREE, 9000, 0 },
	{ "pair-30000", "30,000 bytes", 1000, 1, run_pair, FREE, 30000, 0 },
	{ "pair-0", "malloc(0) and free", 1000, 1, run_pair, FREE, 0, 0 },
	{ "free-null", "free(NULL)", 1000, 1, run_pair, take_nothing, give_free, 0, 0 },
	{ "replace", "one of 4,096 blocks of 16-1,024 bytes at random: free and malloc", 10000, 1, run_replace, FREE, 16, 1024 },

	{ "refill", "malloc run, free blocks are neighbours: hits and refills", 4, 3968, run_refill, FREE, 100, 0 },
	{ "drop", "free run of neighbours: hits and drops", 4, 3968, run_drop, FREE, 100, 0 },
	{ "refill-scattered", "malloc run, 1 in 8 blocks of 256 slabs is free", 4, 2048, run_refill_scattered, FREE, 1000, 0 },
	{ "drop-scattered", "free run, 1 in 8 blocks of 256 slabs at random", 4, 2048, run_drop_scattered, FREE, 1000, 0 },
	{ "fill-16", "malloc(16) run that needs new slabs", 8, 4096, run_fill, FREE, 16, 0 },
	{ "fill-1000", "malloc(1000), per call", 8, 1024, run_fill, FREE, 1000, 0 },
	{ "fill-9000", "malloc(9000), per call", 8, 128, run_fill, FREE, 9000, 0 },
	{ "fill-30000", "malloc(30000), per call", 8, 64, run_fill, FREE, 30000, 0 },
	{ "empty-16", "free run that empties the slabs", 8, 4096, run_empty, FREE, 16, 0 },
	{ "empty-1000", "of 1,000 bytes, per call", 8, 1024, run_empty, FREE, 1000, 0 },
	{ "empty-9000", "of 9,000 bytes, per call", 8, 128, run_empty, FREE, 9000, 0 },
	{ "empty-30000", "of 30,000 bytes, per call", 8, 64, run_empty, FREE, 30000, 0 },

	{ "remote-free", "free of 256 of another thread's 100-byte blocks", 32, 256, run_remote_give, FREE, 100, 0 },
	{ "remote-free-9000", "of 9,000-byte blocks (many slabs)", 32, 256, run_remote_give, FREE, 9000, 0 },
	{ "drain", "malloc of 256 100-byte blocks that another thread freed", 32, 256, run_remote_take, FREE, 100, 0 },
	{ "drain-9000", "of 9,000-byte blocks (many slabs)", 32, 256, run_remote_take, FREE, 9000, 0 },
	{ "new-thread", "malloc(100) and free, a thread's first 32", 16, 32, run_new_thread, FREE, 100, 0 },

	{ "large-hit-100K", "malloc(100 KiB) and free, span at hand", 1000, 1, run_pair, FREE, 100 * KIB, 0 },
	{ "large-hit-1M", "1 MiB", 1000, 1, run_pair, FREE, 1 * MIB, 0 },
	{ "large-miss-100K", "malloc(100 KiB) of fresh memory", 128, 1, run_leak, FREE, 100 * KIB, 0 },
	{ "large-miss-1M", "1 MiB", 64, 1, run_leak, FREE, 1 * MIB, 0 },
	{ "large-replace", "one of 128 blocks of 36-300 KiB at random: free and malloc", 2000, 1, run_replace, FREE, 36 * KIB, 300 * KIB },

	{ "realloc-stay", "100 bytes to 104 and back, per call", 1000, 2, run_resize, FREE, 100, 104 },
	{ "realloc-large-stay", "1 MiB to 960 KiB and back, per call", 1000, 2, run_resize, FREE, 1 * MIB, 960 * KIB },
	{ "realloc-large-in-place", "1 MiB to 256 KiB and back, per call", 1000, 2, run_resize, FREE, 1 * MIB, 256 * KIB },
	{ "realloc-double", "16 bytes doubled to 8 KiB, per call", 200, 9, run_resize_double, FREE, 16, 0 },
	{ "realloc-append", "16 bytes to 4 KiB by 16, per call", 40, 255, run_resize_append, FREE, 16, 0 },
	{ "realloc-large-double", "128 KiB doubled to 2 MiB, per call", 20, 4, run_resize_double, FREE, 128 * KIB, 0 },
	{ "realloc-copy-100K", "100 KiB to 200 where a neighbour is in the way", 100, 1, run_resize_move, FREE, 100 * KIB, 200 * KIB },
	{ "realloc-move-1M", "1 MiB to 3 where a neighbour is in the way", 20, 1, run_resize_move, FREE, 1 * MIB, 3 * MIB },

	{ "calloc-100", "calloc(1, 100) of used memory and free", 1000, 1, run_pair, take_calloc, give_free, 100, 0 },
	{ "calloc-1000", "1,000 bytes", 1000, 1, run_pair, take_calloc, give_free, 1000, 0 },
	{ "calloc-fresh", "calloc(1, 1000) of fresh memory", 4, 512, run_leak, take_calloc, give_free, 1000, 0 },
	{ "calloc-100K", "calloc(1, 100 KiB) of used memory and free", 100, 1, run_pair, take_calloc, give_free, 100 * KIB, 0 },
	{ "calloc-2M", "calloc(1, 2 MiB) of used memory and free", 20, 1, run_pair, take_calloc, give_free, 2 * MIB, 0 },
	{ "aligned-64", "aligned_alloc(64, 100) and free", 1000, 1, run_pair, take_line, give_free, 100, 0 },
	{ "aligned-4096", "aligned_alloc(4096, 5000) and free", 1000, 1, run_pair, take_page, give_free, 5000, 0 },
	{ "usable-100", "malloc_usable_size of 100 bytes", 1000, 1, run_usable, FREE, 100, 0 },
	{ "usable-1M", "of 1 MiB", 1000, 1, run_usable, FREE, 1 * MIB, 0 },
	{ "new-100", "operator new(100) and delete", 1000, 1, run_pair, take_new, give_delete, 100, 0 },
	{ "new-sized-100", "operator new(100) and sized delete", 1000, 1, run_pair, take_new, give_delete_sized, 100, 0 },
	{ "new-aligned-100", "operator new(100, align 64) and sized delete", 1000, 1, run_pair, take_new_aligned, give_delete_aligned, 100, 0 },
};

static const struct path *path_of(const char *name)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (strcmp(paths[i].name, name) == 0)
			return &paths[i];
	fail("no such path");
}

/* The generator starts anew with each pass: a round of one sees what the same round of another saw. */
static void pass(const struct path *path, size_t rounds)
{
	random_state = 42;
	path->run(path, rounds);
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
			printf("%s\t%zu\t%zu\t%s\t%s\n", paths[i].name, paths[i].operations, paths[i].rounds,
			       paths[i].run == run_leak ? "growing" : "steady", paths[i].what);
		return 0;
	}
	size_t rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	if (rounds == 0)
		fail("usage: paths [NAME ROUNDS]");
	const struct path *path = path_of(argv[1]);
	pass(path, 2 * rounds);
	CALLGRIND_DUMP_STATS_AT("set-up"); /* rather than ZERO_STATS, which forgets to zero system calls */
	pass(path, rounds);
	CALLGRIND_DUMP_STATS_AT("once");
	pass(path, 2 * rounds);
	CALLGRIND_DUMP_STATS_AT("twice");
	_exit(0);
}

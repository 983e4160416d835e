/* One small bug per row: `bugs ROW CALL` commits it with CALL (free, realloc or usable). Compiled twice: with -DCORE
 * it calls quarry_malloc and so on and is linked with libquarry-core.a; without, it is an ordinary program that
 * libquarry.so is preloaded into. What each row must say stands in bugs.sh. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quarry/quarry.h"

static volatile bool striking;

#ifdef CORE
#define MALLOC quarry_malloc
#define FREE quarry_free
#define REALLOC quarry_realloc
#define USABLE quarry_usable_size
#define MEMALIGN quarry_memalign
#define CALLOC quarry_calloc
#define TRIM quarry_trim
#define describe quarry_describe

/* The C library's malloc: a report must not call it. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static void confess(void)
{
	static const char text[] = "the report allocates\n";

	if (striking && write(2, text, sizeof(text) - 1) < 0)
		_exit(3);
}

void *malloc(size_t size) { confess(); return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { confess(); return __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { confess(); return __libc_realloc(block, size); }

static void *libc_block(size_t size) { return __libc_malloc(size); }
#else
#define MALLOC malloc
#define FREE free
#define REALLOC realloc
#define USABLE malloc_usable_size
#define MEMALIGN memalign
#define CALLOC calloc
#define TRIM malloc_trim

static struct quarry_description describe(const void *address)
{
	static struct quarry_description (*function)(const void *);

	if (function == NULL)
		*(void **)&function = dlsym(RTLD_DEFAULT, "quarry_describe");
	return function(address);
}

static void *libc_block(size_t size)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	void *(*next)(size_t) = (void *(*)(size_t))dlsym(libc, "malloc");

	return next(size);
}
#endif

#define UNIT ((uintptr_t)65536)
#define SMALL 100
#define LARGE 1000000

static const char *call;
static void *volatile sink;
static void *volatile shared;           /* handed from thread to thread at the barrier */
static pthread_barrier_t barrier;
static bool may_allocate;

static void fail(const char *what)
{
	striking = false;
	printf("%s\n", what);
	fflush(stdout);
	_exit(2);
}

/* The bug itself. */
static void strike(void *pointer)
{
	striking = !may_allocate;
	if (strcmp(call, "free") == 0) {
		FREE(pointer);
	} else if (strcmp(call, "realloc") == 0) {
		errno = 0;
		sink = REALLOC(pointer, 200);
		if (sink == NULL && errno == ENOMEM)
			fail("realloc gave NULL and ENOMEM");
	} else if (USABLE(pointer) == 0) {
		fail("malloc_usable_size gave 0");
	}
	striking = false;
}

static void *in_thread(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	void *result;

	if (pthread_create(&thread, NULL, body, argument) != 0)
		fail("no thread");
	pthread_join(thread, &result);
	return result;
}

/* ---- Double frees ---- */

static void row_abort(void) { abort(); }

static void row_at_once(void)
{
	void *block = MALLOC(SMALL);
	FREE(block);
	strike(block);
}

static void row_at_once_medium(void)
{
	void *block = MALLOC(20000);
	FREE(block);
	strike(block);
}

static void row_at_once_large(void)
{
	void *block = MALLOC(LARGE);
	FREE(block);
	strike(block);
}

static void row_aligned(void)
{
	void *block = MEMALIGN(4096, 100);
	FREE(block);
	strike(block);
}

static void other_frees(size_t count)
{
	static void *blocks[64];

	/* Of other classes than SMALL's, small and large. */
	for (size_t i = 0; i < count; i++) {
		size_t at = i % 64;
		FREE(blocks[at]);
		blocks[at] = MALLOC(i % 1000 == 0 ? 100000 : 150 + i * 16 % 3000);
		if (blocks[at] == NULL)
			fail("no memory");
	}
}

static void row_later(void)
{
	void *block = MALLOC(SMALL);
	FREE(block);
	other_frees(1000000);
	strike(block);
}

/* The thread is there before the block: what starting one allocates must not get the block's address. */
static void *wait_and_strike_body(void *argument)
{
	pthread_barrier_wait(&barrier);
	strike((void *)shared);
	return argument;
}

static void strike_in_thread(size_t size)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, wait_and_strike_body, NULL) != 0)
		fail("no thread");
	shared = MALLOC(size);
	FREE(shared);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

static void row_other_thread(void) { strike_in_thread(SMALL); }
static void row_other_thread_large(void) { strike_in_thread(LARGE); }

/* Every second block stays, so the slab does, but the last freed ones' page goes. */
static void row_page_given_back(void)
{
	static char *blocks[2000];

	for (int i = 0; i < 2000; i++)
		memset(blocks[i] = MALLOC(SMALL), 1, SMALL);
	for (int i = 100; i < 400; i++)
		FREE(blocks[i]);
	TRIM(0);
	strike(blocks[250]);
}

static void row_slab_given_back(void)
{
	static char *blocks[5000];

	for (int i = 0; i < 5000; i++)
		memset(blocks[i] = MALLOC(SMALL), 1, SMALL);
	for (int i = 0; i < 5000; i++)
		FREE(blocks[i]);
	TRIM(0);
	strike(blocks[2500]);
}

static void row_large_given_back(void)
{
	void *block = MALLOC(LARGE);
	memset(block, 1, LARGE);
	FREE(block);
	TRIM(0);
	strike(block);
}

/* ---- Who owned it ---- */

/* Enough calls for a thread to have a heap of its own. */
static void allocate_much(void)
{
	void *blocks[500];

	for (int i = 0; i < 500; i++)
		blocks[i] = MALLOC(SMALL);
	for (int i = 0; i < 500; i++)
		FREE(blocks[i]);
}

static void *make_body(void *argument)
{
	(void)argument;
	allocate_much();
	return MALLOC(SMALL);
}

static void *make_and_free_body(void *argument)
{
	void *block = make_body(argument);
	FREE(block);
	return block;
}

static void *make_and_stay_body(void *frees)
{
	shared = frees != NULL ? make_and_free_body(NULL) : make_body(NULL);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void start_maker(bool frees)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, make_and_stay_body, frees ? &barrier : NULL) != 0)
		fail("no thread");
	pthread_barrier_wait(&barrier);
}

static void row_owner_freed(void)
{
	start_maker(true);
	strike(shared);
}

static void row_owner_lives(void)
{
	start_maker(false);
	FREE(shared);
	strike(shared);
}

static void row_owner_exited(void)
{
	void *block = in_thread(make_body, NULL);
	FREE(block);
	strike(block);
}

static void *make_few_body(void *argument)
{
	(void)argument;
	return MALLOC(SMALL);
}

/* From the shared heap. */
static void row_owner_shared(void)
{
	sink = MALLOC(1);
	void *block = in_thread(make_few_body, NULL);
	FREE(block);
	strike(block);
}

static void in_child(void (*bug)(void *), void *block)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		bug(block);
		_exit(0);
	}
	if (waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
		abort();
	_exit(0);
}

static void free_and_strike(void *block)
{
	FREE(block);
	strike(block);
}

static void row_fork_freed_before(void)
{
	void *block = MALLOC(SMALL);
	FREE(block);
	in_child(strike, block);
}

static void row_fork_freed_in_child(void)
{
	in_child(free_and_strike, MALLOC(SMALL));
}

static void row_fork_owner_lost(void)
{
	start_maker(false);
	in_child(free_and_strike, shared);
}

static void row_fork_lost_owner_freed(void)
{
	start_maker(true);
	in_child(strike, shared);
}

/* ---- Never a block's start ---- */

static void row_interior_small(void) { strike((char *)MALLOC(SMALL) + 16); }
static void row_interior_odd(void) { strike((char *)MALLOC(SMALL) + 8); }
static void row_interior_large(void) { strike((char *)MALLOC(LARGE) + 16); }
static void row_interior_large_far(void) { strike((char *)MALLOC(LARGE) + 900000); }

/* A slab of 16-byte blocks whose first block starts behind a colour and that has a fresh block. */
static uintptr_t slab_unit(bool (*good)(uintptr_t))
{
	for (int i = 0; i < 200000; i++) {
		uintptr_t unit = (uintptr_t)MALLOC(SMALL) & ~(UNIT - 1);
		if (good(unit))
			return unit;
	}
	fail("no such slab");
	return 0;
}

static uintptr_t fresh_block(uintptr_t unit)
{
	for (uintptr_t at = unit; at < unit + UNIT; at += 16) {
		struct quarry_description about = describe((void *)at);
		if (about.kind == QUARRY_FREE && about.fresh)
			return (uintptr_t)about.block;
	}
	return 0;
}

static bool has_fresh(uintptr_t unit) { return fresh_block(unit) != 0; }
static void row_fresh(void) { strike((void *)fresh_block(slab_unit(has_fresh))); }

static uintptr_t first_block(uintptr_t unit)
{
	uintptr_t at = unit;

	while (describe((void *)at).kind == QUARRY_UNUSED)
		at++;
	return at;
}

static size_t block_size(uintptr_t unit) { return describe((void *)first_block(unit)).size; }

static uintptr_t tail_phantom(uintptr_t unit)
{
	size_t size = block_size(unit);
	return first_block(unit) + (unit + UNIT - first_block(unit)) / size * size;
}

static bool has_tail(uintptr_t unit) { return tail_phantom(unit) < unit + UNIT; }
static bool has_colour(uintptr_t unit) { return first_block(unit) >= unit + block_size(unit); }

static void row_tail(void) { strike((void *)tail_phantom(slab_unit(has_tail))); }

static void row_colour(void)
{
	uintptr_t unit = slab_unit(has_colour);
	strike((void *)(first_block(unit) - block_size(unit)));
}

/* The first unit above a block that is in no slab: committed with the slabs before it. */
static void row_unused_unit(void)
{
	uintptr_t at = ((uintptr_t)MALLOC(SMALL) & ~(UNIT - 1)) + UNIT / 2;

	while (describe((void *)at).kind != QUARRY_UNUSED)
		at += UNIT;
	strike((void *)(at - UNIT / 2));
}

static void row_reserved(void) { strike((char *)MALLOC(SMALL) + ((size_t)8 << 30)); }

/* The `number`th readable mapping that is Quarry's bookkeeping: bits and page map, then headers and ledgers. */
static void *metadata(int number)
{
	static char text[65536];
	FILE *maps = fopen("/proc/self/maps", "r");
	size_t length = maps != NULL ? fread(text, 1, sizeof(text) - 1, maps) : 0;

	sink = MALLOC(1);
	if (length == 0 || fclose(maps) != 0)
		fail("no maps");
	for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		unsigned long start, end;
		char mode[8];
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && strcmp(mode, "rw-p") == 0 &&
		    describe((void *)start).kind == QUARRY_METADATA && number-- == 0)
			return (void *)(start + 128);
	}
	fail("no metadata found");
	return NULL;
}

static void row_page_map(void) { sink = MALLOC(1); strike(metadata(0)); }
static void row_headers(void) { sink = MALLOC(1); strike(metadata(1)); }

/* ---- Outside Quarry's memory ---- */

static int global = 1;

static void row_stack(void)
{
	int local[16] = { 0 };
	strike(local);
}

static void *stack_body(void *argument)
{
	int local[16] = { 0 };
	strike(local);
	return argument;
}

/* The C library allocates when it is asked where a thread's stack lies. */
static void row_stack_thread(void)
{
	may_allocate = true;
	in_thread(stack_body, NULL);
}

static void row_global(void) { strike(&global); }
static void row_constant(void) { strike((void *)(uintptr_t)"text"); }
static void row_code(void) { strike((void *)(uintptr_t)row_code); }
static void row_libc_code(void) { strike(dlsym(RTLD_DEFAULT, "printf")); }
static void row_libc_block(void) { strike(libc_block(SMALL)); }

/* ---- No bug at all ---- */

static void *good_body(void *blocks)
{
	void **block = blocks;

	for (int i = 0; i < 1000; i++)
		FREE(block[i]);
	return make_body(NULL);
}

static void row_good(void)
{
	static void *blocks[1000];
	int status;

	FREE(NULL);
	for (int i = 0; i < 1000; i++)
		blocks[i] = i % 3 == 0 ? MEMALIGN((size_t)16 << i % 12, (size_t)i * 10) : CALLOC((size_t)i, (size_t)i % 97);
	for (int i = 0; i < 1000; i += 2)
		if ((blocks[i] = REALLOC(blocks[i], (size_t)i * 77 + 1)) == NULL || USABLE(blocks[i]) < (size_t)i * 77 + 1)
			fail("realloc");
	FREE(in_thread(good_body, blocks));
	start_maker(false);
	pid_t child = fork();
	if (child == 0) {
		FREE(shared);
		allocate_much();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		fail("child");
	FREE(shared);
	other_frees(100000);
	TRIM(0);
	other_frees(100000);
}

#define ROW(name) { #name, row_##name }
static const struct {
	const char *name;
	void (*commit)(void);
} rows[] = {
	ROW(abort),
	ROW(at_once), ROW(at_once_medium), ROW(at_once_large), ROW(aligned), ROW(later), ROW(other_thread),
	ROW(other_thread_large), ROW(page_given_back), ROW(slab_given_back), ROW(large_given_back),
	ROW(owner_freed), ROW(owner_lives), ROW(owner_exited), ROW(owner_shared),
	ROW(fork_freed_before), ROW(fork_freed_in_child), ROW(fork_owner_lost), ROW(fork_lost_owner_freed),
	ROW(interior_small), ROW(interior_odd), ROW(interior_large), ROW(interior_large_far),
	ROW(fresh), ROW(tail), ROW(colour), ROW(unused_unit), ROW(reserved), ROW(page_map), ROW(headers),
	ROW(stack), ROW(stack_thread), ROW(global), ROW(constant), ROW(code), ROW(libc_code), ROW(libc_block),
	ROW(good),
};

int main(int argc, char **argv)
{
	call = argc > 2 ? argv[2] : "free";
	if (argc > 3)
		close(2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (argc < 2) {
			printf("%s\n", rows[i].name);
		} else if (strcmp(rows[i].name, argv[1]) == 0) {
			rows[i].commit();
			return 0;
		}
	}
	return argc < 2 ? 0 : 127;
}

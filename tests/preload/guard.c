/* What a program sees of guard mode: `guard WHAT`; says "good", or what was wrong, or dies of it. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dlfcn.h>

#include "program.h"
#include "quarry/quarry.h"
#include "sandbox.h"

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			printf("line %d: %s\n", __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

static int ends[2];

/* Whether the kernel can read it. */
static int accessible(const void *address)
{
	char byte;

	return write(ends[1], address, 1) == 1 && read(ends[0], &byte, 1) == 1;
}

static size_t mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	size_t count = 0;

	for (int c; (c = fgetc(maps)) != EOF;)
		count += c == '\n';
	fclose(maps);
	return count;
}

/* ---- What stands around blocks of each form ---- */

static void check(char *block, size_t size)
{
	char *end = block + (size + 15) / 16 * 16;

	MUST(block != NULL && malloc_usable_size(block) == size);
	memset(block, 1, size);
	MUST(size == 0 || (accessible(block) && accessible(block + size - 1)));
	MUST(!accessible(end));
}

static void gone(char *block)
{
	MUST(!accessible(block));
}

static void forms(void)
{
	static const size_t sizes[] = { 1, 24, 32, 100, 4096, 5000, 32768, 40000, 300000, 5000000 };
	void *aligned;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i];
		char *block = malloc(size);
		check(block, size);
		char *moved = realloc(block, size * 2);
		MUST(moved != block && moved[0] == 1 && moved[size - 1] == 1);
		gone(block);
		check(moved, size * 2);
		block = realloc(moved, size / 2 + 1);
		MUST(block != moved && block[size / 2] == 1);
		gone(moved);
		free(block);
		gone(block);
		block = calloc(size, 1);
		for (size_t at = 0; at < size; at++)
			MUST(block[at] == 0);
		check(block, size);
		free(block);
		gone(block);
		MUST(posix_memalign(&aligned, 64, size) == 0 && (size_t)aligned % 64 == 0);
		free(aligned);
		gone(aligned);
		block = aligned_alloc(8, size);
		MUST((size_t)block % 16 == 0);
		check(block, size);
		MUST(realloc(block, 0) == NULL);
		gone(block);
		block = memalign(8192, size);
		MUST((size_t)block % 8192 == 0);
		free(block);
		block = strdup("a text");
		check(block, 7);
		free(block);
	}
	errno = 4711;
	free(malloc(10));
	MUST(errno == 4711);
	MUST(malloc((size_t)-1) == NULL && errno == ENOMEM && realloc(NULL, 0) != NULL);
	MUST(calloc((size_t)1 << 33, (size_t)1 << 33) == NULL);
}

/* ---- What is told ---- */

struct seen {
	char *last;
	size_t own;
	char *blocks[100];
};

static int see(void *block, size_t size, void *context)
{
	struct seen *seen = context;

	MUST((char *)block > seen->last);
	seen->last = block;
	for (size_t i = 0; i < 100; i++)
		if (seen->blocks[i] == block) {
			MUST(size == 100 + i);
			seen->own++;
		}
	return 0;
}

static void told(void)
{
	struct quarry_description (*describe)(const void *) = dlsym(RTLD_DEFAULT, "quarry_describe");
	int (*walk)(int (*)(void *, size_t, void *), void *) = dlsym(RTLD_DEFAULT, "quarry_walk");
	int (*stats)(struct quarry_stats *) = dlsym(RTLD_DEFAULT, "quarry_stats");
	size_t (*good_size)(size_t) = dlsym(RTLD_DEFAULT, "quarry_good_size");
	struct quarry_stats before = { .struct_bytes = sizeof(before) }, after = before;
	static struct seen seen;

	MUST(stats(&before) == 0);
	size_t uordblks = mallinfo2().uordblks;
	for (size_t i = 0; i < 100; i++)
		seen.blocks[i] = malloc(100 + i);
	MUST(stats(&after) == 0);
	MUST(after.guarded_blocks - before.guarded_blocks == 100 && after.guarded_bytes - before.guarded_bytes == 100 * 100 + 99 * 50);
	MUST(after.live_blocks - before.live_blocks == 100 && after.live_bytes - before.live_bytes == 100 * 100 + 99 * 50);
	MUST(after.guarded_page_bytes - before.guarded_page_bytes == 100 * (size_t)sysconf(_SC_PAGESIZE));
	MUST(after.guarded_table_bytes > 0);
	MUST(mallinfo2().uordblks - uordblks == 100 * 100 + 99 * 50);
	MUST(walk(see, &seen) == 0 && seen.own == 100);

	char *block = seen.blocks[0];
	struct quarry_description is = describe(block + 40);
	MUST(is.kind == QUARRY_LIVE && is.block == block && is.size == 100 && is.offset == 40);
	MUST(describe(block + 104).kind == QUARRY_UNUSED && describe(block - 1).kind == QUARRY_UNUSED);
	MUST(describe(&is).kind == QUARRY_FOREIGN);
	for (size_t i = 0; i < 100; i++)
		free(seen.blocks[i]);
	is = describe(block + 40);
	MUST(is.kind == QUARRY_FREE && is.block == block && is.size == 100 && is.offset == 40);
	MUST(stats(&after) == 0 && after.guarded_blocks == before.guarded_blocks && after.live_bytes == before.live_bytes);
	MUST(after.guarded_freed_blocks - before.guarded_freed_blocks == 100);
	MUST(good_size(100) == 100);
	malloc_trim(0);
	char *json = malloc(100000);
	size_t (*stats_json)(char *, size_t) = dlsym(RTLD_DEFAULT, "quarry_stats_json");
	MUST(stats_json(json, 100000) < 100000 && strstr(json, "\"guarded_blocks\": ") != NULL);
	free(json);
}

/* ---- Many blocks, threads, forks ---- */

static void many(void)
{
	size_t before = mappings();
	static char *blocks[100000];

	for (size_t i = 0; i < 100000; i++)
		memset(blocks[i] = malloc(32), 1, 32);
	MUST(mappings() < before + 20);
	for (size_t i = 0; i < 100000; i += 1000)
		MUST(!accessible(blocks[i] + 32));
	for (size_t i = 0; i < 100000; i++)
		free(blocks[i]);
	MUST(mappings() < before + 20);
	for (size_t i = 0; i < 100000; i += 1000)
		gone(blocks[i]);
}

static char *passed[4];
static volatile int stop;

static void *churn(void *argument)
{
	unsigned long state = (unsigned long)argument * 77 + 1;
	char *blocks[50] = { NULL };

	for (size_t i = 0; i < 3000 || (argument == NULL && !stop); i++) {
		state = state * 6364136223846793005ul + 1442695040888963407ul;
		size_t at = (state >> 33) % 50;
		free(blocks[at]);
		blocks[at] = malloc((state >> 40) % 5000);
		memset(blocks[at], 7, malloc_usable_size(blocks[at]));
		if (i % 3 == 0) {
			free(__atomic_exchange_n(&passed[i % 4], blocks[at], __ATOMIC_ACQ_REL));
			blocks[at] = NULL;
		}
	}
	for (size_t i = 0; i < 50; i++)
		free(blocks[i]);
	return NULL;
}

static void threads(void)
{
	pthread_t thread[4];

	for (size_t i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, churn, (void *)(i + 1));
	for (size_t i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
}

static void forks(void)
{
	pthread_t thread[2];
	char *before = malloc(100);
	char *freed = malloc(100);
	int status;

	free(freed);
	for (size_t i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, churn, NULL);
	for (size_t i = 0; i < 30; i++) {
		pid_t child = fork();
		if (child == 0) {
			/* With few guards a slot may be used again by now. */
			if (getenv("FEW_GUARDS") == NULL)
				gone(freed);
			MUST(accessible(before) && !accessible(before + 112));
			churn((void *)(i + 1));
			free(before);
			gone(before);
			_exit(0);
		}
		MUST(waitpid(child, &status, 0) == child && status == 0);
	}
	stop = 1;
	for (size_t i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	MUST(accessible(before));
	free(before);
}

/* ---- Which are guarded ---- */

static int guarded(char *block, size_t size)
{
	return !accessible(block + (size + 15) / 16 * 16);
}

static void module(void)
{
	void *library = dlopen(getenv("MODULE"), RTLD_NOW);
	char *(*make)(size_t) = library != NULL ? dlsym(library, "make") : NULL;

	MUST(make != NULL);
	char *own = malloc(100);
	char *other = make(100);
	printf("program %s, library %s\n", guarded(own, 100) ? "guarded" : "not guarded", guarded(other, 100) ? "guarded" : "not guarded");
	free(own);
	free(other);
}

/* Blocks that are not guarded are the allocator's own as ever. */
static void unguarded(void)
{
	char *block = malloc(100);

	MUST(!guarded(block, 100));
	free(block);
	threads();
	block = realloc(malloc(5), 50);
	MUST(!guarded(block, 50));
	block = realloc(block, 2000);
	MUST(guarded(block, 2000));
	block = realloc(block, 10);
	MUST(!guarded(block, 10));
	free(block);
}

static void locked(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0)
		threads();
}

/* What every sandbox allows, and no more: any other call kills. */
static void sandboxed(void)
{
	if (enter_sandbox())
		churn((void *)1);
	write(1, "good\n", 5);
	_exit(0);
}

/* ---- Mistakes ---- */

static void double_free(void)
{
	char *block = malloc(100);
	free(block);
	threads();
	free(block);
}

static void overflow(void)
{
	volatile char *block = malloc(100);
	block[100] = 1;
	free((char *)block);
}

static void overflow_at_exit(void)
{
	volatile char *block = malloc(100);
	block[103] = 1;
}

static void realloc_freed(void)
{
	char *block = malloc(100);
	free(block);
	block = realloc(block, 200);
}

static void use_after_realloc(void)
{
	volatile char *block = malloc(100);
	char *moved = realloc((char *)block, 100);
	block[0] = 1;
	free(moved);
}

static void touch_behind(void)
{
	volatile char *block = malloc(32);
	block[32] = 1;
}

int main(int argc, char **argv)
{
	static const struct part all[] = {
		{ "forms", forms }, { "told", told }, { "many", many }, { "threads", threads }, { "forks", forks },
		{ "module", module }, { "unguarded", unguarded }, { "locked", locked }, { "sandboxed", sandboxed }, { "double_free", double_free },
		{ "overflow", overflow }, { "overflow_at_exit", overflow_at_exit }, { "realloc_freed", realloc_freed },
		{ "use_after_realloc", use_after_realloc }, { "touch_behind", touch_behind },
	};

	if (pipe(ends) != 0)
		return 2;
	if (!run_part(all, sizeof(all) / sizeof(all[0]), argc, argv))
		return 2;
	puts("good");
	return 0;
}

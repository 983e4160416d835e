/* A program that is linked statically with Quarry: each check prints one line of TAP. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quarry/quarry.h"

#define THREADS 4
#define BLOCKS 20000

/* Names of Quarry's inside, here the program's own. */
int die, text_format, slab_make, span_take, lock_take, heap_empty, region_first, sealed;

static int count;
static void *blocks[THREADS][BLOCKS];

static void check(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++count, name);
}

static bool live(const void *block) { return quarry_describe(block).kind == QUARRY_LIVE; }

static void *make(void *row)
{
	void **own = row;

	for (size_t i = 0; i < BLOCKS; i++)
		memset(own[i] = malloc(i % 700 + 1), 1, i % 700 + 1);
	return NULL;
}

static void *drop(void *row)
{
	void **others = row;

	for (size_t i = 0; i < BLOCKS; i++)
		free(others[i]);
	return NULL;
}

static void run_all(void *(*body)(void *), int shift)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, body, blocks[(i + shift) % THREADS]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static bool child_ends_well(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		run_all(drop, 0);
		run_all(make, 0);
		_exit(live(blocks[0][7]) ? 0 : 1);
	}
	return waitpid(child, &status, 0) == child && status == 0;
}

static size_t live_blocks(void)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	return quarry_stats(&stats) == 0 ? stats.live_blocks : 0;
}

int main(void)
{
	char *line = NULL;
	size_t capacity = 0;
	void *volatile block;

	setvbuf(stdout, NULL, _IOLBF, 0);
	check(live(block = malloc(100)), "malloc");
	check(live(block = calloc(10, 10)), "calloc");
	check(live(block = realloc(block, 100000)), "realloc");
	free(block);
	check(!live(block), "free");
	check(live(block = memalign(4096, 10)), "memalign");
	check(posix_memalign((void **)&block, 64, 100) == 0 && live(block), "posix_memalign");
	check(live(block = valloc(10)), "valloc");
	check(live(block = reallocarray(NULL, 10, 10)), "reallocarray");
	check(malloc_usable_size(block) >= 100, "malloc_usable_size");
	check(live(block = strdup("the C library's own")), "the C library's strdup");
	check(asprintf(&line, "%d", 1234567) == 7 && live(line), "asprintf");
	FILE *stream = open_memstream(&line, &capacity);
	fprintf(stream, "%1000d", 1);
	fclose(stream);
	check(live(line), "open_memstream");
#ifdef __GLIBC__
	check(mallinfo2().uordblks > 0 && malloc_trim(0) >= 0, "mallinfo2, malloc_trim");
#endif
	errno = 0;
	check((block = malloc(PTRDIFF_MAX)) == NULL && errno == ENOMEM, "out of memory");

	size_t before = live_blocks();
	run_all(make, 0);
	check(live_blocks() >= before + THREADS * BLOCKS, "threads");
	check(child_ends_well(), "a child of fork");
	run_all(drop, 1);
	check(live_blocks() < before + 100, "blocks that other threads freed");
	printf("1..%d\n", count);
	return 0;
}

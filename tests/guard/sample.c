/* What sample.sh has sampled. A sampled block is told by its usable size, which is what was asked for. Sizes that are a
 * class's own can't be told so. */
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../preload/program.h"
#include "../preload/sandbox.h"

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			printf("line %d: %s\n", __LINE__, #condition); \
			exit(1); \
		} \
	} while (0)

#define INTERVAL 100
#define ALLOCATIONS 1000000

static _Atomic size_t sampled;

static size_t used(void *block, size_t size)
{
	CHECK(block != NULL);
	return malloc_usable_size(block) == size;
}

/* The number of samples is within five standard deviations: an interval's is N / sqrt(3). */
static void check_rate(size_t samples, size_t allocations)
{
	size_t expected = allocations / INTERVAL;
	size_t deviation = 1;

	while (deviation * deviation * 3 < expected)
		deviation++;
	if (samples < expected - 5 * deviation || samples > expected + 5 * deviation) {
		printf("%zu samples of %zu allocations\n", samples, allocations);
		exit(1);
	}
}

/* One block at a time: the same magazine entry would serve all of them. */
static size_t pairs(size_t size, size_t count)
{
	size_t samples = 0;

	for (size_t i = 0; i < count; i++) {
		char *block = malloc(size);
		samples += used(block, size);
		free(block);
	}
	return samples;
}

static void sizes(void)
{
	static const size_t all[] = { 1, 20, 100, 250, 1000, 5000, 30000, 100000 };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		size_t count = all[i] > 40000 ? ALLOCATIONS / 20 : ALLOCATIONS;
		check_rate(pairs(all[i], count), count);
	}
}

/* Classes with large batches and with small ones, in turn and at random, some of them live: each has its share. */
static void shares(void)
{
	static const size_t all[] = { 20, 100, 1000, 9000 };
	static void *live[1000];
	size_t samples[4] = { 0 };
	unsigned random = 1;

	for (size_t i = 0; i < ALLOCATIONS; i++) {
		random = random * 1103515245 + 12345;
		size_t which = random >> 16 & 3;
		void **place = &live[(random >> 18) % 1000];
		free(*place);
		*place = malloc(all[which]);
		samples[which] += used(*place, all[which]);
	}
	for (size_t i = 0; i < 4; i++) {
		/* Which class an interval ends in is a throw of dice as well. */
		if (samples[i] < 2500 - 400 || samples[i] > 2500 + 400) {
			printf("%zu samples of size %zu\n", samples[i], all[i]);
			exit(1);
		}
	}
	check_rate(samples[0] + samples[1] + samples[2] + samples[3], ALLOCATIONS);
}

static void calls(void)
{
	size_t samples[6] = { 0 };
	void *block;

	for (size_t i = 0; i < ALLOCATIONS / 6; i++) {
		samples[0] += used(block = calloc(1, 100), 100);
		for (int j = 0; j < 100; j++)
			CHECK(((char *)block)[j] == 0);
		block = realloc(block, 1000);
		samples[1] += used(block, 1000);
		memset(block, 1, 1000);
		free(block);
		samples[2] += used(block = memalign(64, 200), 200);
		CHECK((uintptr_t)block % 64 == 0);
		free(block);
		samples[3] += used(block = memalign(256, 200), 200);
		CHECK((uintptr_t)block % 256 == 0);
		free(block);
		CHECK(posix_memalign(&block, 16, 100) == 0);
		samples[4] += used(block, 100);
		free(block);
		samples[5] += used(block = aligned_alloc(4096, 5000), 5000);
		CHECK((uintptr_t)block % 4096 == 0);
		free(block);
	}
	size_t all = 0;
	for (size_t i = 0; i < 6; i++) {
		all += samples[i];
		if (samples[i] < 1667 - 220 || samples[i] > 1667 + 220) {
			printf("%zu samples of call %zu\n", samples[i], i);
			exit(1);
		}
	}
	check_rate(all, ALLOCATIONS / 6 * 6);
}

static void *thread_run(void *count)
{
	sampled += pairs(100, (size_t)count);
	return NULL;
}

static void threads_run(size_t threads, size_t count)
{
	pthread_t thread[64];

	sampled = 0;
	for (size_t i = 0; i < threads; i++)
		CHECK(pthread_create(&thread[i], NULL, thread_run, (void *)count) == 0);
	for (size_t i = 0; i < threads; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
	check_rate(sampled, threads * count);
}

static void threads(void)
{
	threads_run(4, ALLOCATIONS / 4);
	/* Short ones: of the shared heap alone, and with a heap that others had before. */
	for (int i = 0; i < 20; i++)
		threads_run(50, 100);
	for (int i = 0; i < 20; i++)
		threads_run(50, 1000);
}

/* Children don't repeat what their parent or other children sample, and sample at the same rate from the start. */
static void forks(void)
{
	size_t *samples = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t first = 0, total = 0;

	pairs(100, 1000);
	for (int i = 0; i < 500; i++) {
		samples[1] = 0;
		pid_t child = fork();
		if (child == 0) {
			size_t count = 0;
			for (size_t j = 0; j < 200; j++)
				if (pairs(100, 1) != 0 && count++ == 0)
					samples[1] = j;
			samples[0] += count;
			_exit(0);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		first += samples[1] < 20;
	}
	total = samples[0];
	/* 1,000 expected; of the first samples about a fifth, and those who have none, within the first 20. */
	CHECK(total > 800 && total < 1200);
	CHECK(first > 40 && first < 300);
}

__attribute__((noinline)) static void *keep(size_t size) { return malloc(size); }

/* Blocks that stay have filled their part of the pool: others are sampled all the same. */
static void long_lived(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < 3 * ALLOCATIONS; i++) {
		void *block = keep(20);
		kept += used(block, 20);
	}
	CHECK(kept >= 1000 && kept <= 3072);
	check_rate(pairs(100, ALLOCATIONS), ALLOCATIONS);
}

static void churn(void)
{
	static char *live[20000];
	unsigned random = 1;

	for (size_t i = 0; i < 3 * ALLOCATIONS; i++) {
		random = random * 1103515245 + 12345;
		char **place = &live[(random >> 8) % 20000];
		free(*place);
		size_t size = (random >> 16) % 300 + (i % 50 == 0) * (i % 20000);
		*place = malloc(size);
		memset(*place, 1, size < 100 ? size : 100);
	}
}

/* Once the program has started. */
static void sandboxed(void)
{
	pairs(100, 10);
	if (enter_sandbox())
		churn();
	_exit(0);
}

/* ---- Mistakes: each ends the program within so many rounds ---- */

#define ROUNDS 2000

static void use_after_free(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		volatile char *block = malloc(48);
		*block = 1;
		free((void *)block);
		(void)*block;
	}
}

static void overflow(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		volatile char *block = malloc(48);
		__asm__("" : "+r"(block));
		(void)block[48];
		free((void *)block);
	}
}

static void underwrite(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		char *block = malloc(40);
		if (used(block, 40))
			block[-1] ^= 1;
		free(block);
	}
}

static void interior_free(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		char *block = malloc(40);
		if (used(block, 40))
			free(block + 1);
		free(block);
	}
}

static void quiet(void)
{
	char line[256];
	FILE *status;

	pairs(100, 1000);
	status = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, "SigCgt", 6) == 0)
			fputs(line, stdout);
	fclose(status);
}

static void memory(void)
{
	char line[256];
	FILE *status;

	for (size_t i = 0; i < ALLOCATIONS; i++)
		keep(20);
	churn();
	status = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, "VmHWM", 5) == 0)
			printf("%d\n", atoi(line + 6));
	fclose(status);
}

int main(int argc, char **argv)
{
	static const struct part all[] = {
		{ "sizes", sizes }, { "shares", shares }, { "calls", calls }, { "threads", threads }, { "forks", forks },
		{ "long_lived", long_lived }, { "churn", churn }, { "sandboxed", sandboxed }, { "use_after_free", use_after_free }, { "overflow", overflow },
		{ "underwrite", underwrite }, { "interior_free", interior_free }, { "quiet", quiet }, { "memory", memory },
	};

	return run_part(all, sizeof(all) / sizeof(all[0]), argc, argv) ? 0 : 2;
}

/* Where Quarry tells what it does through the C library's names: each check prints one line of TAP. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "quarry/quarry.h"

#define MIB ((size_t)1 << 20)
#define UNTOUCHED 4242

/* Programs of before glibc 2.26 call it under this version. */
__asm__(".symver old_cfree, cfree@GLIBC_2.2.5");
extern void old_cfree(void *block);

static struct quarry_description (*describe)(const void *);
static void *volatile keep;
static int count;

static void check(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++count, name);
}

/* Without stdio, whose buffer would be a block. */
static size_t resident_bytes(void)
{
	char text[128] = "";
	int statm = open("/proc/self/statm", O_RDONLY);
	size_t total, resident;

	if (statm < 0 || read(statm, text, sizeof(text) - 1) <= 0 || sscanf(text, "%zu %zu", &total, &resident) != 2)
		exit(2);
	close(statm);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void uordblks(size_t block_size, const char *grows, const char *falls)
{
	size_t blocks_count = 100 * MIB / block_size;
	void **blocks = malloc(blocks_count * sizeof(*blocks));
	size_t before = mallinfo2().uordblks;

	for (size_t i = 0; i < blocks_count; i++)
		blocks[i] = malloc(block_size);
	size_t full = mallinfo2().uordblks;
	check(full - before >= 100 * MIB * 99 / 100 && full - before <= 100 * MIB * 105 / 100, grows);
	for (size_t i = 0; i < blocks_count; i++)
		free(blocks[i]);
	size_t after = mallinfo2().uordblks;
	check(after <= before + before / 100 + 4096 && after + 4096 + before / 100 >= before, falls);
	free(blocks);
}

static void trim(void)
{
	enum { COUNT = 20000 };
	static char *blocks[COUNT];

	for (int i = 0; i < COUNT; i++)
		memset(blocks[i] = malloc(1000), 1, 1000);
	for (int i = 0; i < COUNT; i++)
		if (i % 1000 != 0)
			free(blocks[i]);
	size_t before = resident_bytes();
	int first = malloc_trim(0);
	size_t between = resident_bytes();
	int second = malloc_trim(0);
	check(first == 1, "malloc_trim returns 1 when there is something to give back");
	check(between + 10 * MIB < before, "malloc_trim gives it back");
	check(second == 0, "malloc_trim returns 0 when nothing is left");
	for (int i = 0; i < COUNT; i += 1000)
		check(blocks[i][999] == 1, "a block beside what went back is untouched");
	for (int i = 0; i < COUNT; i += 1000)
		free(blocks[i]);
}

static void huge_callocs(void)
{
	size_t before = resident_bytes();

	for (int i = 0; i < 1000; i++) {
		char *block = calloc(1, 1024 * MIB);
		if (block == NULL || block[1000 * MIB] != 0) {
			check(false, "calloc of 1 GiB");
			return;
		}
		block[1000 * MIB] = 1;
		free(block);
	}
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	check(resident_bytes() < before + 64 * MIB, "1000 times calloc of 1 GiB, one page touched: little stays resident");
	check((size_t)usage.ru_maxrss * 1024 < 1024 * MIB, "and never was");
	/* Zeroing them takes minutes. */
	check(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec < 20, "and the memory is not zeroed by hand");
}

static void saturation(void)
{
	void *block = malloc((size_t)5 << 30);
	struct mallinfo2 wide = mallinfo2();
	struct mallinfo narrow = mallinfo();

	check(block != NULL && wide.uordblks >= (size_t)5 << 30, "mallinfo2 counts above 4 GiB");
	check(narrow.uordblks == INT_MAX, "mallinfo saturates");
	check(narrow.uordblks >= 0 && narrow.arena >= 0 && narrow.hblkhd >= 0 && narrow.fordblks >= 0, "nothing in it is negative");
	free(block);
}

static void names(void)
{
	void *block = malloc(100);
	void (*by_name)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");

	check(describe(block).kind == QUARRY_LIVE, "malloc is Quarry's");
	check(by_name != NULL, "cfree is there");
	by_name(block);
	check(describe(block).kind == QUARRY_FREE, "cfree by dlsym frees");
	block = malloc(100);
	old_cfree(block);
	check(describe(block).kind == QUARRY_FREE, "cfree@GLIBC_2.2.5 is Quarry's");
	block = NULL;
	errno = UNTOUCHED;
	check(posix_memalign(&block, 64, SIZE_MAX) == ENOMEM && errno == UNTOUCHED && block == NULL,
	      "posix_memalign leaves errno alone when it fails");
	check(mallopt(12345, 1) == 1 && mallopt(-100, 0) == 1, "mallopt: 1 for a parameter that nobody knows, as glibc");
}

int main(int argc, char **argv)
{
	*(void **)&describe = dlsym(RTLD_DEFAULT, "quarry_describe");
	if (describe == NULL)
		return 2;
	if (argc > 1 && strcmp(argv[1], "info") == 0) {
		for (size_t i = 1; i < 3000; i++)
			keep = malloc(i * 40);
		return malloc_info(0, stdout) == 0 ? 0 : 1;
	}
	if (argc > 1) {
		keep = malloc(100);
		malloc_stats();
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	uordblks(112, "uordblks grows by 100 MiB of small blocks", "and falls back");
	uordblks(5000, "uordblks grows by 100 MiB of medium blocks", "and falls back");
	uordblks(MIB, "uordblks grows by 100 MiB of large blocks", "and falls back");
	trim();
	huge_callocs();
	saturation();
	names();
	printf("1..%d\n", count);
	return 0;
}

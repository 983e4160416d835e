/* Machines and limits that a program meets, or makes for itself: no room for another mapping, little address space, locked
 * memory. Whatever fails, it is a request, with ENOMEM, and works again afterwards. The argument says what. Prints "good". */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "preload/program.h"

#define GIB ((size_t)1 << 30)
#define SLOTS 4000

static char *blocks[SLOTS];
static size_t sizes[SLOTS];
static uint64_t seed = 1;
static size_t refused;

static size_t draw(size_t bound)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % bound;
}

static void keep(size_t i, char *block, size_t size)
{
	if (block == NULL) {
		if (errno != ENOMEM)
			complain("errno is not ENOMEM but", errno);
		refused++;
		return;
	}
	block[0] = block[size - 1] = (char)(i + 1);
	blocks[i] = block;
	sizes[i] = size;
}

/* Requests of all kinds; blocks grow, also by being moved. */
static void work(size_t rounds, size_t largest)
{
	for (size_t round = 0; round < rounds; round++) {
		size_t i = draw(SLOTS);
		size_t size = 1 + draw(draw(50) == 0 ? largest : 4000);
		errno = 0;
		if (blocks[i] != NULL && (blocks[i][0] != (char)(i + 1) || blocks[i][sizes[i] - 1] != (char)(i + 1)))
			complain("a block has changed", (long)i);
		if (blocks[i] != NULL && draw(3) == 0) {
			size_t more = sizes[i] * 2 < largest ? sizes[i] * 2 : largest;
			char *block = realloc(blocks[i], more);
			if (block != NULL && block[0] != (char)(i + 1))
				complain("realloc has lost what was in it", (long)i);
			keep(i, block, more);
			continue;
		}
		free(blocks[i]);
		blocks[i] = NULL;
		keep(i, draw(4) == 0 ? calloc(1, size) : malloc(size), size);
	}
}

static void give_all(void)
{
	for (size_t i = 0; i < SLOTS; i++) {
		free(blocks[i]);
		blocks[i] = NULL;
	}
	malloc_trim(0);
}

static void *thread_run(void *argument)
{
	(void)argument;
	for (size_t i = 0; i < 20000; i++)
		free(malloc(i % 3000));
	return NULL;
}

static void expect_all_to_work(void)
{
	pthread_t thread;

	refused = 0;
	work(30000, MIB);
	if (refused > 0)
		complain("requests were refused", (long)refused);
	give_all();
	if (pthread_create(&thread, NULL, thread_run, NULL) == 0)
		pthread_join(thread, NULL);
}

/* Maps single pages of which no two neighbours are alike, until the kernel allows no more. */
static size_t maps_fill(char **first)
{
	size_t count = 0;
	char *area = mmap(NULL, 4 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*first = area;
	for (size_t i = 1; i < 4 * GIB / 8192; i++, count++)
		if (mprotect(area + i * 8192, 4096, PROT_READ) != 0)
			break;
	return count;
}

/* vm.max_map_count is reached by the program itself: nothing of Quarry's splits a mapping, and what would is not needed. */
static void maps(void)
{
	char *area;

	work(20000, 4 * MIB);
	size_t count = maps_fill(&area);
	if (count < 1000)
		complain("mappings", (long)count);
	refused = 0;
	work(30000, 4 * MIB);
	if (refused > 0)
		complain("requests were refused", (long)refused);
	give_all();
	work(10000, 4 * MIB);
	munmap(area, 4 * GIB);
	give_all();
	expect_all_to_work();
}

/* The same before the first request. */
static void maps_first(void)
{
	char *area;

	maps_fill(&area);
	free(malloc(100));
	munmap(area, 4 * GIB);
	expect_all_to_work();
}

/* Address space: all of it is taken but one piece of so many bytes; before the first malloc, and no more than that. */
static void space(size_t left)
{
	char *piece = mmap(NULL, left, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (piece == MAP_FAILED)
		complain("no such piece", errno);
	for (size_t bytes = (size_t)1 << 46; bytes >= 4096; bytes /= 2)
		while (mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
			;
	munmap(piece, left);
	work(30000, left / 64 < MIB ? left / 64 : MIB);
	if (refused > 0)
		complain("requests were refused", (long)refused);
	give_all();
	errno = 0;
	if (malloc(left) != NULL || errno != ENOMEM)
		complain("as much as there is", errno);
}

/* RLIMIT_MEMLOCK, as the caller has set it: locked or not, all works. */
static void lock(void)
{
	work(5000, MIB);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0 && mlockall(MCL_FUTURE) != 0 && errno != EPERM && errno != ENOMEM)
		complain("mlockall", errno);
	work(20000, MIB);
	give_all();
	refused = 0;
	work(10000, MIB);
	if (refused > 0)
		complain("requests were refused", (long)refused);
	give_all();
}

/* Without /proc; with threads, statistics and a report of nothing. */
static void no_proc(void)
{
	char text[64];

	if (file_read("/proc/self/statm", text, sizeof(text)) > 0)
		complain("/proc is there", 0);
	expect_all_to_work();
	(void)mallinfo2();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "maps") == 0)
		maps();
	else if (strcmp(what, "maps-first") == 0)
		maps_first();
	else if (strcmp(what, "space") == 0)
		space(strtoul(argv[2], NULL, 10) * MIB);
	else if (strcmp(what, "lock") == 0)
		lock();
	else if (strcmp(what, "no-proc") == 0)
		no_proc();
	else if (strcmp(what, "all") == 0)
		expect_all_to_work();
	else
		return 2;
	write(1, "good\n", 5);
	_exit(0);
}

/* Memory under RLIMIT_DATA: what was freed can be mapped by the program itself, because it goes back with its charge. The
 * first argument is the limit in KiB; the second "trim": asked for by malloc_trim; "silent": by itself. Prints "good". */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static void complain(const char *what, size_t bytes)
{
	dprintf(1, "%s: %zu MiB\n", what, bytes / MIB);
	_exit(2);
}

static size_t blocks_take(size_t size, void ***last)
{
	size_t total = 0;
	void **block;

	while ((block = malloc(size)) != NULL) {
		memset(block, 1, size < 4096 ? size : 4096);
		*block = *last;
		*last = block;
		total += size;
	}
	return total;
}

static void blocks_give(void **last)
{
	while (last != NULL) {
		void **next = *last;
		free(last);
		last = next;
	}
}

/* The most that can be mapped at once. */
static size_t map_most(size_t most)
{
	for (; most > 0; most -= MIB) {
		char *memory = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			continue;
		memory[0] = memory[most - 1] = 1;
		munmap(memory, most);
		break;
	}
	return most;
}

int main(int argc, char **argv)
{
	size_t limit = argc > 1 ? strtoul(argv[1], NULL, 10) * 1024 : 0;
	int trims = argc > 2 && strcmp(argv[2], "trim") == 0;
	const size_t sizes[] = { 1000, 100000, 3000000 };

	for (int round = 0; round < (trims ? 3 : 1); round++) {
		for (size_t i = 0; i < (trims ? sizeof(sizes) / sizeof(sizes[0]) : 1); i++) {
			void **blocks = NULL;
			size_t taken = blocks_take(sizes[i], &blocks);
			if (taken < limit / 2)
				complain("too little was to be had", taken);
			if (map_most(limit) > limit / 4)
				complain("the limit doesn't hold", map_most(limit));
			blocks_give(blocks);
			if (trims)
				malloc_trim(0);
			/* By itself what may be retained stays: 16 MiB, and what lies beside it in pieces. */
			size_t most = map_most(limit);
			if (most < (trims ? limit / 10 * 9 : limit / 2))
				complain("too little went back", most);
		}
	}
	dprintf(1, "good\n");
	return 0;
}

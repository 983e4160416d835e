/* What is kept holds back what is free: 150,000 blocks of 512 bytes, 100,000 of 1 KiB and 50,000 of 2 KiB, of which a
 * scattered one in twenty outlives the others.
 *
 * Stresses how finely memory is given back: hardly a span or a chunk becomes free as a whole, but four pages in five
 * do. A cache after its entries ran out, a server whose sessions end (Powers et al., "Mesh",
 * PLDI 2019). Then nothing happens, and then malloc_trim(0) is called once, where the function is
 * the allocator's own. Phases are told as in giveback_silent.c, and resident memory is looked at from outside. The
 * pages that hold a part of a kept block are counted at the end: nobody can give back those. --abort 1 ends in a core.
 */
#include "bench.h"
#include <dlfcn.h>

enum { KINDS = 3, BLOCKS_MOST = 1000000 };

static const uint64_t kind_bytes[KINDS] = {512, 1024, 2048}, kind_blocks[KINDS] = {150000, 100000, 50000};

static uint64_t keep = 20, silent_ms = 10300, trimmed_ms = 500, hold_ms = 150, ends_in_core = 0, seed = 1;

static void phase(const char *line, uint64_t ms)
{
	if (write(STDOUT_FILENO, line, strlen(line)) < 0)
		fail("cannot write to stdout");
	struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

/* The malloc_trim of the library that malloc comes from, or NULL: another allocator's would trim an empty heap. */
static int (*trim_find(void))(size_t)
{
	Dl_info of_trim, of_malloc;
	void *trim = dlsym(RTLD_DEFAULT, "malloc_trim"), *own = dlsym(RTLD_DEFAULT, "malloc");
	int (*found)(size_t) = NULL;
	if (trim && dladdr(trim, &of_trim) && dladdr(own, &of_malloc) && of_trim.dli_fbase == of_malloc.dli_fbase)
		memcpy(&found, &trim, sizeof found);
	return found;
}

static uint64_t blocks_fill(void **blocks)
{
	uint64_t count = 0;
	for (int kind = 0; kind < KINDS; kind++)
		for (uint64_t i = 0; i < kind_blocks[kind]; i++)
			blocks[count++] = block_new(kind_bytes[kind]);
	return count;
}

/* Keeps one block in --keep, each with the same chance; those move to the front. Returns how many they are. */
static uint64_t blocks_thin(void **blocks, uint64_t count)
{
	uint64_t kept = 0;
	for (uint64_t i = 0; i < count; i++)
		if (random_below(&seed, keep) == 0)
			blocks[kept++] = blocks[i];
		else
			block_free(blocks[i]);
	return kept;
}

static int order_by_number(const void *one, const void *other)
{
	uintptr_t a = *(const uintptr_t *)one, b = *(const uintptr_t *)other;
	return (a > b) - (a < b);
}

/* Pages that hold a part of a block. Allocates, and so comes last. */
static uint64_t pages_held(void **blocks, uint64_t count)
{
	uintptr_t *pages = need(malloc(2 * count * sizeof *pages));
	uint64_t held = 0, used = 0;
	for (uint64_t i = 0; i < count; i++) {
		uintptr_t first = (uintptr_t)blocks[i] / PAGE_BYTES;
		uintptr_t last = ((uintptr_t)blocks[i] + block_check(blocks[i]) - 1) / PAGE_BYTES;
		pages[used++] = first;
		if (last != first) /* no block is longer than a page */
			pages[used++] = last;
	}
	qsort(pages, used, sizeof *pages, order_by_number);
	for (uint64_t i = 0; i < used; i++)
		held += i == 0 || pages[i] != pages[i - 1];
	free(pages);
	return held;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"keep", &keep, 1, BLOCKS_MOST, "one block in so many is kept"},
	    {"silent-ms", &silent_ms, 0, 3600000, "how long nothing happens after the blocks were freed"},
	    {"trimmed-ms", &trimmed_ms, 0, 3600000, "and after malloc_trim(0)"},
	    {"hold-ms", &hold_ms, 0, 3600000, "how long each other phase is held"},
	    {"abort", &ends_in_core, 0, 1, "1: end by abort(), for a core file"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	void **blocks = table_new(BLOCKS_MOST, sizeof *blocks);
	int (*trim)(size_t) = trim_find();
	for (uint64_t i = 0, sum = 0; i < KINDS; i++) /* resident before the count begins */
		memset(blocks + sum, 1, kind_blocks[i] * sizeof *blocks), sum += kind_blocks[i];

	phase("PHASE start\n", hold_ms);
	uint64_t count = blocks_fill(blocks);
	phase("PHASE peak\n", hold_ms);
	uint64_t kept = blocks_thin(blocks, count);
	phase("PHASE freed\n", silent_ms);
	if (trim) {
		trim(0);
		phase("PHASE trimmed\n", trimmed_ms);
	}
	phase("PHASE end\n", 0);
	if (ends_in_core)
		abort();
	result("kept", (double)kept, "count");
	result("pages_held", (double)pages_held(blocks, kept), "count");
	return 0;
}

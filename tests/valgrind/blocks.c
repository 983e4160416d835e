/* What helgrind looks at: all of each live block, in whatever way it came and grew, nothing of what was freed, and nothing
 * of Quarry's own. */
#include <stdio.h>
#include <string.h>

#include <valgrind/helgrind.h>

#include <quarry/quarry.h>

static int failures;

static void expect(const char *what, const void *start, size_t bytes, size_t expected)
{
	long found = VALGRIND_HG_GET_ABITS(start, NULL, bytes);

	if (found == (long)expected)
		return;
	printf("%s: helgrind looks at %ld bytes of %zu, not at %zu\n", what, found, bytes, expected);
	failures++;
}

static void whole_life(const char *what, char *block, size_t bytes)
{
	memset(block, 1, bytes);
	expect(what, block, bytes, bytes);
	quarry_free(block);
	expect(what, block, bytes, 0);
}

static void sizes(void)
{
	static const size_t bytes[] = { 1, 100, 5000, 100000, 1000000 };

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		whole_life("malloc", quarry_malloc(bytes[i]), bytes[i]);
		whole_life("calloc", quarry_calloc(1, bytes[i]), bytes[i]);
		whole_life("aligned_alloc", quarry_aligned_alloc(512, bytes[i]), bytes[i]);
	}
}

/* In place where there is room, which behind the newest block there is. */
static void resized(void)
{
	enum { SMALL = 200000, LARGE = 400000 };
	char *block = quarry_malloc(SMALL);

	memset(block, 1, SMALL);
	char *grown = quarry_realloc(block, LARGE);
	expect("realloc, larger", grown, LARGE, LARGE);
	if (grown != block)
		expect("realloc, left behind", block, SMALL, 0);
	char *shrunk = quarry_realloc(grown, SMALL);
	size_t usable = quarry_usable_size(shrunk);
	expect("realloc, smaller", shrunk, usable, usable);
	if (shrunk == grown && usable < LARGE)
		expect("realloc, cut off", grown + usable, LARGE - usable, 0);
	else
		expect("realloc, smaller: moved", shrunk, 1, 0);
	quarry_free(shrunk);
}

int main(void)
{
	if (VALGRIND_HG_GET_ABITS(&failures, NULL, 1) == -2) {
		puts("not under helgrind");
		return 2;
	}
	sizes();
	resized();
	if (failures == 0)
		puts("good");
	return failures != 0;
}

/* Pointers outside Quarry's memory: what each value of the option does. */
#include "model/support.h"

#include <errno.h>
#include <sys/mman.h>

#include "api/foreign.h"
#include "quarry/quarry.h"

/* What the next allocator was asked. */
static void *asked_free;
static void *asked_realloc;

static void next_free(void *block) { asked_free = block; }
static size_t next_usable_size(void *block UNUSED) { return 4711; }
static void *next_realloc(void *block, size_t size UNUSED)
{
	asked_realloc = block;
	return (char *)block + 1;
}

/* The options are read-only by the time a test runs, so each act is this program again, started with other options. The
 * next allocator is made known as the shared library does it: by a constructor that runs before the core's. */
__attribute__((constructor(101))) static void set_next(void)
{
	struct foreign_next next = { next_free, next_realloc, next_usable_size };

	if (getenv("QUARRY_TEST_NEXT") != NULL)
		foreign_set_next(&next);
}

static char *foreign_block;
static char object[64];

static void ignored(void)
{
	errno = 4711;
	quarry_free(foreign_block);
	quarry_free(object);
	MUST(errno == 4711);
	MUST(quarry_usable_size(foreign_block) == 0);
	MUST(quarry_realloc(foreign_block, 10) == NULL && errno == ENOMEM);
	MUST(asked_free == NULL && asked_realloc == NULL);
}

static void forwarded(void)
{
	quarry_free(foreign_block);
	MUST(asked_free == foreign_block);
	MUST(quarry_realloc(foreign_block + 8, 10) == foreign_block + 9 && asked_realloc == foreign_block + 8);
	MUST(quarry_usable_size(foreign_block) == 4711);
}

static void free_it(void) { quarry_free(foreign_block); }
static void resize_it(void) { (void)!quarry_realloc(foreign_block, 10); }
static void free_object(void) { quarry_free(object); }
static void free_stack(void)
{
	volatile char here[64] = { 0 };

	quarry_free((void *)(uintptr_t)here);
}

#define NOBODY_OWNS "no allocator of this process"

static const struct act {
	const char *name;
	const char *options;
	bool has_next;
	void (*body)(void);
	const char *call;               /* of the report; NULL: none, and the act ends well */
	const char *words;
} acts[] = {
	{ "default", "", false, free_it, "quarry: quarry_free(", NOBODY_OWNS },
	{ "default realloc", "", false, resize_it, "quarry: quarry_realloc(", NOBODY_OWNS },
	{ "ignore", "foreign=ignore", true, ignored, NULL, NULL },
	{ "forward", "foreign=forward", true, forwarded, NULL, NULL },
	{ "forward a stack", "foreign=forward", true, free_stack, "quarry: quarry_free(", "stack" },
	{ "forward an object", "foreign=forward", true, free_object, "quarry: quarry_free(", "own data or code" },
	{ "forward to nobody", "foreign=forward", false, free_it, "quarry: quarry_free(", NOBODY_OWNS },
	{ "abort", "foreign=abort", true, free_it, "quarry: quarry_free(", NOBODY_OWNS },
	{ "abort realloc", "foreign=abort", true, resize_it, "quarry: quarry_realloc(", NOBODY_OWNS },
};

#define ACT_COUNT (sizeof(acts) / sizeof(acts[0]))

static void start_again(void *argument)
{
	const struct act *act = argument;
	char index[16];
	char path[4096] = "";
	char *arguments[] = { path, index, NULL };

	snprintf(index, sizeof(index), "%zu", (size_t)(act - acts));
	setenv("QUARRY_OPTIONS", act->options, 1);
	if (act->has_next)
		setenv("QUARRY_TEST_NEXT", "1", 1);
	if (readlink("/proc/self/exe", path, sizeof(path) - 1) > 0)
		execv(path, arguments);
	_exit(99);
}

static void test_acts(void **state UNUSED)
{
	SKIP_EMULATED("programs that it runs can't start others");
	char said[4096];

	for (size_t i = 0; i < ACT_COUNT; i++) {
		const struct act *act = &acts[i];
		/* Not every C library tells what an object holds without a lock. */
		if (act->body == free_object && !os_is_in_object(acts))
			continue;
		int status = child_run(start_again, (void *)(uintptr_t)act, said, sizeof(said));
		bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
		if (act->call == NULL ? status != 0 || said[0] != 0
		                      : !aborted || strncmp(said, act->call, strlen(act->call)) != 0 ||
		                            strstr(said, act->words) == NULL)
			fail_msg("%s: wait status %#x, said: %s", act->name, (unsigned)status, said);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acts),
	};

	if (argc == 1)
		return cmocka_run_group_tests(tests, NULL, NULL);
	foreign_block = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	quarry_free(quarry_malloc(1));
	acts[atoi(argv[1])].body();
	return 0;
}

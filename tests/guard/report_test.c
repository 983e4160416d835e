/* What reports say of hand-made blocks, in both formats, to each of the places where they go, and how they end. */
#include "model/support.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "guard/report.h"
#include "guard/stack.h"
#include "os/os.h"
#include "quarry/quarry.h"

#define TEXT_BYTES 65536

static char said[TEXT_BYTES];
static char *pages;             /* 8192 bytes, a block's */

static struct report_settings settings;
static bool configured;

static bool neighbours(const void *address, struct guarded *before, struct guarded *after)
{
	*before = (struct guarded){ .state = GUARDED_LIVE, .start = (uintptr_t)address - 4196, .size = 100,
		                    .allocated_thread = thread_note() };
	*after = (struct guarded){ .state = GUARDED_LIVE, .start = (uintptr_t)address + 4096, .size = 33,
		                   .kind = GUARD_KIND_NEW, .allocated_thread = thread_note() };
	return true;
}

static void configure(void)
{
	if (!configured)
		assert_true(stack_configure(16, MIB, true));
	configured = true;
	settings = (struct report_settings){ .path = "", .neighbours = neighbours };
	report_configure(&settings);
	report_prepare();
	prctl(PR_SET_NAME, "tester");
	if (pages == NULL)
		pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(pages != MAP_FAILED);
	memset(pages, GUARDED_SLACK_BYTE, 8192);
}

__attribute__((noinline)) static uint32_t a_stack(void)
{
	return stack_capture(__builtin_frame_address(0), 0);
}

/* A block of 100 bytes that ends at its pages' end but for alignment, as guard mode makes it. */
static struct guarded a_block(enum guarded_state state)
{
	uintptr_t end = (uintptr_t)pages + 8192;
	struct guarded block = {
		.state = state,
		.start = end - 112,
		.size = 100,
		.alignment = 16,
		.pages = (uintptr_t)pages,
		.pages_end = end,
		.allocated_by = a_stack(),
		.allocated_thread = thread_note(),
		.allocated_ns = os_now_ns() - (uint64_t)19800 * 1000000000,
	};

	if (state == GUARDED_FREED) {
		block.freed_by = a_stack();
		block.freed_thread = thread_note();
		block.freed_ns = os_now_ns() - (uint64_t)11520 * 1000000000;
		block.frees_since = 17;
		block.last_bytes = 20;
		memcpy(block.last, "Hello, here I was!\n", 20);
	}
	return block;
}

static void run_report(void *argument)
{
	report(argument);
}

static void assert_said(const char *const *expected)
{
	const char *at = said;

	for (; *expected != NULL; expected++) {
		const char *found = strstr(at, *expected);
		if (found == NULL)
			fail_msg("missing, or out of order: %s\nin:\n%s", *expected, said);
		at = found + strlen(*expected);
	}
}

/* The report's last arguments are texts in the order in which they must stand. */
static void assert_report(struct report report, bool aborts, const char *const *expected)
{
	int status = child_run(run_report, &report, said, sizeof(said));

	if (aborts)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	else
		ASSERT_EXITED(status);
	assert_said(expected);
}

#define EXPECT(...) (const char *const[]){ __VA_ARGS__, NULL }
#define POINTER(block, offset) ((const void *)((block).start + (uintptr_t)(offset)))

/* Distances are measured from the end that counts, and named in words. */
static void test_distances(void **state UNUSED)
{
	static const struct {
		enum guarded_state state;
		intptr_t offset;
		const char *title;
		const char *where;
	} rows[] = {
		{ GUARDED_LIVE, 100, "overflow: memory behind a block was accessed\n",
		  "  where    the first byte behind a live block of 100 bytes\n" },
		{ GUARDED_LIVE, 101, "overflow: memory behind a block was accessed\n",
		  "  where    1 byte behind the end of a live block of 100 bytes\n" },
		{ GUARDED_LIVE, 112 + 4095, "overflow: memory behind", "4107 bytes behind the end of a live block of 100 bytes\n" },
		{ GUARDED_LIVE, -1, "underflow: memory in front of a block was accessed\n",
		  "  where    1 byte before the start of a live block of 100 bytes\n" },
		{ GUARDED_LIVE, -8, "underflow: ", "  where    8 bytes before the start of a live block of 100 bytes\n" },
		{ GUARDED_FREED, 0, "use after free: memory of a freed block was accessed\n",
		  "  where    the start of a freed block of 100 bytes\n" },
		{ GUARDED_FREED, 1, "use after free: ", "  where    1 byte inside a freed block of 100 bytes\n" },
		{ GUARDED_FREED, 99, "use after free: ", "  where    99 bytes inside a freed block of 100 bytes\n" },
		{ GUARDED_FREED, 100, "use after free: ", "  where    the first byte behind a freed block of 100 bytes\n" },
		{ GUARDED_FREED, -4, "use after free: ", "  where    4 bytes before the start of a freed block of 100 bytes\n" },
	};

	configure();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct guarded block = a_block(rows[i].state);
		assert_report((struct report){ .kind = REPORT_ACCESS, .pointer = POINTER(block, rows[i].offset), .block = &block,
		                               .access = REPORT_WRITE }, false,
		              EXPECT("quarry: write at 0x", ": ", rows[i].title, rows[i].where, "  block    0x"));
	}
}

static void test_use_after_free(void **state UNUSED)
{
	char id[32];

	configure();
	snprintf(id, sizeof(id), "thread %d (tester)", os_thread_id());
	struct guarded block = a_block(GUARDED_FREED);
	assert_report((struct report){ .kind = REPORT_ACCESS, .pointer = POINTER(block, 5), .block = &block,
	                               .access = REPORT_READ }, false,
	              EXPECT("quarry: read at 0x", "use after free: ", "5 bytes inside a freed block of 100 bytes\n",
	                     ", 100 bytes, from malloc, freed\n", "  accessed by thread ", " (tester)\n", "    #0 0x",
	                     "/report_test+0x", "    #1 0x", "  freed by ", id, ", 3.2 h and 17 frees ago\n", "    #0 0x",
	                     "  allocated by ", id, ", 5.5 h ago\n", "    #0 0x",
	                     "  contents when it was freed, the first 20 bytes\n",
	                     " 48 65 6c 6c 6f 2c 20 68 65 72 65 20 49 20 77 61  |Hello, here I wa|\n", " 73 21 0a 00 ",
	                     "|s!..|\n", "  below    0x", "100 bytes, from malloc, live, ends 4096 bytes before; allocated by thread ",
	                     "  above    0x", "33 bytes, from operator new, live, begins 4096 bytes further on; allocated by ",
	                     "  module   /", "/report_test 0x", " to 0x", "  next     ",
	                     "  meaning  doc/errors.md#use-after-free\n"));
}

static void test_slack(void **state UNUSED)
{
	configure();
	struct guarded block = a_block(GUARDED_LIVE);
	memset((void *)block.start, 'x', 100);
	((char *)block.start)[103] = 'Z';
	assert_report((struct report){ .kind = REPORT_OVERFLOW, .call = "free", .pointer = POINTER(block, 0), .block = &block,
	                               .changed_offset = 103 }, true,
	              EXPECT("quarry: free(0x", "overflow: bytes behind the block have been overwritten\n",
	                     "  where    3 bytes behind the end of a live block of 100 bytes\n", "  changed  the byte at offset 103, 0x",
	                     ", 3 behind the block's end; it was 0xd7\n", " 78 78 78 78 d7 d7 d7>5a d7", "|xxxx...Z........|\n",
	                     "  found in thread ", "  allocated by ", "guard_align=1", "doc/errors.md#overflow\n"));
	memset(pages, GUARDED_SLACK_BYTE, 8192);
	((char *)block.start)[-2] = 0;
	assert_report((struct report){ .kind = REPORT_UNDERFLOW, .call = "delete", .pointer = POINTER(block, 0),
	                               .block = &block, .changed_offset = -2 }, true,
	              EXPECT("underflow: bytes in front of the block have been overwritten\n",
	                     "  where    2 bytes before the start of a live block", "at offset -2, 0x", ", 2 before the block's start; it was 0xd7\n",
	                     " d7>00 d7 ", "guard_place=before", "doc/errors.md#underflow\n"));
	/* No byte outside of the pages is read: the pages end here. */
	mprotect(pages, 4096, PROT_NONE);
	block = a_block(GUARDED_LIVE);
	block.pages += 4096;
	block.start = block.pages;
	pages[4096 + 5] = 'a';
	assert_report((struct report){ .kind = REPORT_WRITTEN_AFTER_FREE, .call = "free", .pointer = POINTER(block, 0),
	                               .block = &block, .changed_offset = 5 }, true,
	              EXPECT("use after free: bytes of the freed block have been overwritten\n", " d7>61 d7"));
	mprotect(pages, 4096, PROT_READ | PROT_WRITE);
	/* How many lines of bytes there are at a block's very end. */
	block = a_block(GUARDED_LIVE);
	block.start = block.pages_end - 1;
	block.size = 0;
	assert_report((struct report){ .kind = REPORT_OVERFLOW, .call = "free", .pointer = POINTER(block, 0), .block = &block,
	                               .changed_offset = 0 }, true, EXPECT("  where    the start of a live block of 0 bytes\n", ">d7  |"));
}

static void test_calls(void **state UNUSED)
{
	configure();
	struct guarded freed = a_block(GUARDED_FREED);
	struct guarded live = a_block(GUARDED_LIVE);
	live.kind = GUARD_KIND_NEW_ARRAY;
	assert_report((struct report){ .kind = REPORT_DOUBLE_FREE, .call = "free", .pointer = POINTER(freed, 0), .block = &freed },
	              true, EXPECT("quarry: free(0x", "): double free: the block was freed before\n", "  where    the start of a freed",
	                           "  found in thread ", "  freed by thread ", "  allocated by ", "doc/errors.md#double-free\n"));
	assert_report((struct report){ .kind = REPORT_INTERIOR, .call = "realloc", .pointer = POINTER(live, 16), .block = &live },
	              true, EXPECT("quarry: realloc(0x", "pointer to the inside of a block, not to its start\n",
	                           "  where    16 bytes inside a live block", "doc/errors.md#interior-pointer\n"));
	assert_report((struct report){ .kind = REPORT_INTERIOR, .call = "free", .pointer = POINTER(freed, 16), .block = &freed },
	              true, EXPECT("pointer to the inside of a freed block\n"));
	assert_report((struct report){ .kind = REPORT_MISMATCHED, .call = "free", .pointer = POINTER(live, 0), .block = &live },
	              true, EXPECT("mismatched forms: ", "  forms    made by operator new[], given to free\n",
	                           "doc/errors.md#mismatched-forms\n"));
	assert_report((struct report){ .kind = REPORT_WRONG_SIZE, .call = "operator delete", .pointer = POINTER(live, 0),
	                               .block = &live, .said = 96 }, true,
	              EXPECT("wrong size: ", "  sizes    100 bytes asked for, 96 given back\n", "doc/errors.md#wrong-size\n"));
	assert_report((struct report){ .kind = REPORT_WRONG_ALIGNMENT, .call = "operator delete", .pointer = POINTER(live, 0),
	                               .block = &live, .said = 64 }, true,
	              EXPECT("wrong alignment: ", "  aligned  to 16 when it was made, to 64 when", "doc/errors.md#wrong-alignment\n"));
	assert_report((struct report){ .kind = REPORT_INVALID, .call = "free", .pointer = pages }, true,
	              EXPECT("pointer that no guarded block starts at or contains\n  found in thread ", "doc/errors.md#not-a-block\n"));
	assert_report((struct report){ .kind = REPORT_ACCESS, .pointer = pages, .access = REPORT_EXECUTE }, false,
	              EXPECT("quarry: execution at 0x", "wild access: ", "  accessed by ", "doc/errors.md#wild-access\n"));
}

static void test_leaks(void **state UNUSED)
{
	struct report_leak leaks[] = { { .blocks = 3, .bytes = 3000 }, { .blocks = 1, .bytes = 7, .possibly = true } };

	configure();
	leaks[0].stack = a_stack();
	assert_report((struct report){ .kind = REPORT_LEAKS, .leaks = leaks, .leak_count = 2 }, false,
	              EXPECT("quarry: leaks: blocks that nothing points to\n",
	                     "  lost     3000 bytes (2.9 KiB) in 3 blocks; possibly 7 bytes in 1 block\n",
	                     "  lost 3000 bytes (2.9 KiB) in 3 blocks, allocated by\n    #0 0x",
	                     "  possibly lost 7 bytes in 1 block, allocated by\n    the stack is not known\n",
	                     "  module   /", "doc/errors.md#leaks\n"));
}

/* ---- JSON ---- */

static const char *json_skip(const char *at);

static const char *json_text(const char *at)
{
	for (at++; *at != '"'; at++) {
		assert_true((unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f);
		if (*at == '\\')
			at++;
	}
	return at + 1;
}

static const char *json_list(const char *at, char end, bool named)
{
	at++;
	while (*at != end) {
		if (named) {
			assert_int_equal(*at, '"');
			at = json_text(at);
			assert_int_equal(*at++, ':');
		}
		at = json_skip(at);
		assert_true(*at == ',' || *at == end);
		if (*at == ',')
			assert_int_not_equal(*++at, end);
	}
	return at + 1;
}

static const char *json_skip(const char *at)
{
	if (*at == '{')
		return json_list(at, '}', true);
	if (*at == '[')
		return json_list(at, ']', false);
	if (*at == '"')
		return json_text(at);
	if (strncmp(at, "true", 4) == 0)
		return at + 4;
	if (strncmp(at, "false", 5) == 0)
		return at + 5;
	assert_true(*at >= '0' && *at <= '9');
	return at + strspn(at, "0123456789");
}

static void assert_json(void)
{
	assert_int_equal(said[0], '{');
	assert_string_equal(json_skip(said), "\n");
}

static void test_json(void **state UNUSED)
{
	struct report_leak leaks[] = { { .blocks = 3, .bytes = 3000 }, { .blocks = 1, .bytes = 7, .possibly = true } };

	configure();
	settings.json = true;
	report_configure(&settings);
	prctl(PR_SET_NAME, "a\"b\\c\n\xff");
	struct guarded block = a_block(GUARDED_FREED);
	assert_report((struct report){ .kind = REPORT_ACCESS, .pointer = POINTER(block, 5), .block = &block,
	                               .access = REPORT_READ }, false,
	              EXPECT("{\"quarry\":\"report\",\"kind\":\"use-after-free\",\"title\":\"use after free: ", "\"process\":",
	                     "\"access\":\"read\"", "\"address\":\"0x", "\"block\":{\"state\":\"freed\",\"start\":\"0x", "\"size\":100",
	                     "\"from\":\"malloc\"", "\"relation\":\"inside\",\"distance\":5", "\"freed_ns_ago\":1152",
	                     "\"frees_since\":17,\"last_bytes\":\"48656c6c6f2c2068657265204920776173210a00\"",
	                     "\"here\":{\"frames\":[{\"pc\":\"0x", "\"module\":\"/", "\"offset\":\"0x", "\"thread\":",
	                     "\"thread_name\":\"a\\\"b\\\\c\\u000a\\u00ff\"", "\"freed\":{\"frames\":[", "\"allocated\":{\"frames\":[",
	                     "\"below\":{", "\"above\":{", "\"modules\":[{\"path\":\"/", "\"build_id\":\"", "\"next\":", "\"meaning\":"));
	assert_json();
	block = a_block(GUARDED_LIVE);
	assert_report((struct report){ .kind = REPORT_OVERFLOW, .call = "free", .pointer = POINTER(block, 0), .block = &block,
	                               .changed_offset = 103 }, true,
	              EXPECT("\"kind\":\"overflow\"", "\"call\":\"free\"", "\"relation\":\"behind\",\"distance\":3",
	                     "\"changed_address\":\"0x", "\"bytes\":\"d7d7"));
	assert_json();
	assert_report((struct report){ .kind = REPORT_WRONG_SIZE, .call = "operator delete", .pointer = POINTER(block, 0),
	                               .block = &block, .said = 96 }, true, EXPECT("\"said\":96"));
	assert_json();
	assert_report((struct report){ .kind = REPORT_INVALID, .call = "free", .pointer = pages }, true, EXPECT("not-a-block"));
	assert_json();
	assert_report((struct report){ .kind = REPORT_LEAKS, .leaks = leaks, .leak_count = 2 }, false,
	              EXPECT("\"leaks\":[{\"frames\":[]", "\"blocks\":3,\"bytes\":3000,\"possibly\":false,\"indirectly\":false},{", "\"possibly\":true,\"indirectly\":false}],\"deaf_threads\":0"));
	assert_json();
	prctl(PR_SET_NAME, "tester");
}

static void call_bad_pointer(void *argument)
{
	report_bad_pointer("free", argument);
}

/* Reports of the default mode keep their words; the other options hold for them as well. */
static void test_without_guard_mode(void **state UNUSED)
{
	int variable;

	configure();
	int status = child_run(call_bad_pointer, pages, said, sizeof(said));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_said(EXPECT("quarry: free(0x", "\n  thread   ", "\n  next     run the program with: quarry run --guard"));
	settings.json = settings.go_on = true;
	report_configure(&settings);
	ASSERT_EXITED(child_run(call_bad_pointer, &variable, said, sizeof(said)));
	assert_said(EXPECT("{\"quarry\":\"report\",\"kind\":\"", "\"call\":\"free\",\"address\":\"0x"));
	assert_json();
}

/* ---- Where it goes ---- */

static char directory[] = "/tmp/quarry-report-XXXXXX";
static char path[128];

static void read_file(const char *name)
{
	int file = open(name, O_RDONLY);
	ssize_t length = file >= 0 ? read(file, said, sizeof(said) - 1) : 0;

	assert_true(length >= 0);
	said[length] = 0;
	close(file);
}

static void write_two(void *argument)
{
	report(argument);
	report(argument);
}

static void test_file(void **state UNUSED)
{
	char error[1024];
	char name[128];

	configure();
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/report.%%p.txt", directory);
	settings.path = path;
	settings.go_on = true;
	report_configure(&settings);
	struct guarded block = a_block(GUARDED_FREED);
	struct report report = { .kind = REPORT_DOUBLE_FREE, .call = "free", .pointer = POINTER(block, 0), .block = &block };
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		write_two(&report);
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	ASSERT_EXITED(status);
	snprintf(name, sizeof(name), "%s/report.%d.txt", directory, child);
	read_file(name);
	assert_said(EXPECT("quarry: free(0x", "#double-free\n", "quarry: free(0x", "#double-free\n"));
	unlink(name);
	rmdir(directory);
	/* What can't be written there is written to standard error. */
	ASSERT_EXITED(child_run(write_two, &report, error, sizeof(error)));
	assert_memory_equal(error, "quarry: free(0x", 15);
}

static char handled[4096];
static size_t handled_bytes;

static void on_report(const struct quarry_report *told, void *context)
{
	MUST(context == said);
	MUST(told->struct_bytes == sizeof(*told));
	MUST(strcmp(told->kind, "double-free") == 0 && strcmp(told->call, "free") == 0);
	MUST(told->block_size == 100 && told->block == told->address);
	MUST(strlen(told->text) == told->text_bytes);
	static const char words[] = "handled\n";
	MUST(write(STDERR_FILENO, words, sizeof(words) - 1) > 0);
	handled_bytes = min_size(told->text_bytes, sizeof(handled));
	memcpy(handled, told->text, handled_bytes);
}

static void test_handler(void **state UNUSED)
{
	configure();
	struct guarded block = a_block(GUARDED_FREED);
	struct report report = { .kind = REPORT_DOUBLE_FREE, .call = "free", .pointer = POINTER(block, 0), .block = &block };
	quarry_set_report_handler(on_report, said);
	assert_report(report, true, EXPECT("quarry: free(0x", "#double-free\n", "handled\n"));
	quarry_set_report_handler(NULL, NULL);
	assert_report(report, true, EXPECT("quarry: free(0x"));
	assert_null(strstr(said, "handled"));
}

/* ---- Threads ---- */

#define THREADS 6

static void *report_here(void *argument)
{
	report(argument);
	return NULL;
}

static void report_together(void *argument)
{
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, report_here, argument) == 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static size_t count_of(const char *words)
{
	size_t count = 0;

	for (const char *at = said; (at = strstr(at, words)) != NULL; at++)
		count++;
	return count;
}

static void test_threads(void **state UNUSED)
{
	configure();
	struct guarded block = a_block(GUARDED_FREED);
	struct report report = { .kind = REPORT_DOUBLE_FREE, .call = "free", .pointer = POINTER(block, 0), .block = &block };
	/* Who ends the process is the only one that is heard. */
	int status = child_run(report_together, &report, said, sizeof(said));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_int_equal(count_of("quarry: free("), 1);
	assert_int_equal(count_of("  meaning  "), 1);
	settings.go_on = true;
	report_configure(&settings);
	ASSERT_EXITED(child_run(report_together, &report, said, sizeof(said)));
	assert_int_equal(count_of("quarry: free("), THREADS);
	/* None in another's middle. */
	for (const char *at = strstr(said, "quarry: free("); at != NULL;) {
		const char *next = strstr(at + 1, "quarry: free(");
		const char *end = strstr(at, "  meaning  ");
		assert_true(end != NULL && (next == NULL || end < next));
		at = next;
	}
}

static void on_report_again(const struct quarry_report *told UNUSED, void *context)
{
	report(context);
}

static void report_twice(void *argument)
{
	quarry_set_report_handler(on_report_again, argument);
	report(argument);
}

static void test_again(void **state UNUSED)
{
	configure();
	struct guarded block = a_block(GUARDED_FREED);
	struct report report = { .kind = REPORT_DOUBLE_FREE, .call = "free", .pointer = POINTER(block, 0), .block = &block };
	int status = child_run(report_twice, &report, said, sizeof(said));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_said(EXPECT("#double-free\n", "quarry: another mistake while one was being reported"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_distances),
		cmocka_unit_test(test_use_after_free),
		cmocka_unit_test(test_slack),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_leaks),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_without_guard_mode),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_handler),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Faults: on a page of our own with a hand-made block, read, write and execution told apart, by markers and by
 * protection; and everybody else's faults, which must end where they would have ended without us. */
#include "model/support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "guard/fault.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "guard/unwind.h"
#include "os/os.h"

#define PAGE ((size_t)65536)            /* any kernel's pages are whole in it */
#define SIZE ((size_t)100)

static char said[65536];
static char *block_pages;               /* a page, and an inaccessible one on each side */
static enum guarded_state block_state;
static bool may_open;
static bool block_is_known = true;

static bool owns(const void *address)
{
	return (uintptr_t)address - (uintptr_t)block_pages < 3 * PAGE;
}

static bool find(const void *address, struct guarded *found)
{
	MUST(owns(address));
	if (!block_is_known)
		return false;
	*found = (struct guarded){
		.state = block_state,
		.start = (uintptr_t)block_pages + 2 * PAGE - SIZE,
		.size = SIZE,
		.pages = (uintptr_t)block_pages + PAGE,
		.pages_end = (uintptr_t)block_pages + 2 * PAGE,
	};
	return true;
}

static bool open_page(const void *address)
{
	uintptr_t page = ROUND_DOWN((uintptr_t)address, os_page_bytes());

	return may_open && mprotect((void *)page, os_page_bytes(), PROT_READ | PROT_WRITE) == 0;
}

static const struct fault_source blocks = { owns, find, open_page };

static void start(bool go_on)
{
	MUST(stack_configure(32, MIB, true));
	report_configure(&(struct report_settings){ .path = "", .go_on = go_on });
	report_prepare();
	MUST(fault_install(&blocks));
}

/* With `markers` as guard mode makes it on new kernels, else as on old ones. */
static bool prepare(enum guarded_state state, bool markers)
{
	if (block_pages != NULL)
		munmap(block_pages, 3 * PAGE);
	block_pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(block_pages != MAP_FAILED);
	block_state = state;
	may_open = false;
	block_is_known = true;
	for (size_t i = 0; i < 3; i++) {
		if (i == 1 && state == GUARDED_LIVE)
			continue;
		if (markers && (!os_has_guards() || madvise(block_pages + i * PAGE, PAGE, 102) != 0))
			return false;
		if (!markers)
			assert_int_equal(mprotect(block_pages + i * PAGE, PAGE, PROT_NONE), 0);
	}
	return true;
}

static char *block_start(void)
{
	return block_pages + 2 * PAGE - SIZE;
}

enum act { READ, WRITE, EXECUTE };

struct access {
	enum act act;
	ptrdiff_t offset;
};

__attribute__((noinline)) static void act(const struct access *access)
{
	volatile char *place = block_start() + access->offset;

	if (access->act == READ)
		(void)*place;
	else if (access->act == WRITE)
		*place = 1;
	else
		((void (*)(void))(uintptr_t)place)();
	__asm__ volatile("" ::: "memory");
}

static void run(void *argument)
{
	start(false);
	act(argument);
}

static void assert_report(struct access access, const char *first, const char *second)
{
	struct rlimit no_core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &no_core);
	int status = child_run(run, &access, said, sizeof(said));
	/* It ends as it would have without us. */
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	if (strncmp(said, first, strlen(first)) != 0 || strstr(said, second) == NULL)
		fail_msg("expected %s ... %s in:\n%s", first, second, said);
	/* The first frame is the instruction; of a call of what is no code, who called is the second. */
	const char *frame = strstr(said, access.act == EXECUTE ? "    #1 0x" : "    #0 0x");
	assert_non_null(frame);
	assert_memory_equal(strchr(frame, '(') + 1, "/", 1);
	uintptr_t pc = strtoul(strstr(frame, "0x"), NULL, 16);
	assert_true(pc - (uintptr_t)act < 4096);
}

static void skip_where_accesses_show(void)
{
	skip_where(MEMCHECK_BUILD, "valgrind complains of the accesses itself");
}

static void assert_accesses(bool markers)
{
	if (!prepare(GUARDED_LIVE, markers)) {
		print_message("# skipped: no guard markers here\n");
		skip();
	}
	assert_report((struct access){ WRITE, SIZE }, "quarry: write of 1 byte at 0x", "  where    the first byte behind a live block of 100");
	assert_report((struct access){ READ, SIZE + 7 }, "quarry: read of 1 byte at 0x", "  where    7 bytes behind the end of a live block");
	prepare(GUARDED_FREED, markers);
	assert_report((struct access){ READ, 0 }, "quarry: read of 1 byte at 0x", "  where    the start of a freed block of 100");
	assert_report((struct access){ WRITE, 99 }, "quarry: write of 1 byte at 0x", "  where    99 bytes inside a freed block of 100");
	assert_report((struct access){ EXECUTE, 4 }, "quarry: execution at 0x", "  where    4 bytes inside a freed block of 100");
	assert_report((struct access){ READ, -(ptrdiff_t)(2 * PAGE - SIZE) }, "quarry: read of 1 byte at 0x", " before the start of a freed");
	block_is_known = false;
	assert_report((struct access){ READ, 0 }, "quarry: read of 1 byte at 0x", "wild access: ");
}

static void test_markers(void **state UNUSED)
{
	skip_where_accesses_show();
	assert_accesses(true);
}

static void test_protection(void **state UNUSED)
{
	skip_where_accesses_show();
	assert_accesses(false);
}

/* ---- How many bytes: one instruction each ---- */

struct row {
	void (*run)(void *place);
	const char *says;
	bool avx;
};

#if defined(__x86_64__)
#define INSTRUCTION(name, text) static void name(void *place) { __asm__ volatile(text :: "r"(place) : "rax", "xmm0", "xmm1", "memory"); }
INSTRUCTION(read_1, "movb (%0), %%al")
INSTRUCTION(read_1_wide, "movzbl (%0), %%eax")
INSTRUCTION(read_2, "movzwl (%0), %%eax")
INSTRUCTION(read_2_plain, "movw (%0), %%ax")
INSTRUCTION(read_4, "movl (%0), %%eax")
INSTRUCTION(read_4_wide, "movslq (%0), %%rax")
INSTRUCTION(read_8, "movq (%0), %%rax")
INSTRUCTION(read_8_add, "addq (%0), %%rax")
INSTRUCTION(compare_1, "cmpb $0, (%0)")
INSTRUCTION(compare_4, "cmpl $0, (%0)")
INSTRUCTION(call_8, "call *(%0)")
INSTRUCTION(float_4, "movss (%0), %%xmm0")
INSTRUCTION(float_8, "addsd (%0), %%xmm0")
INSTRUCTION(vector_16, "movups (%0), %%xmm0")
INSTRUCTION(vector_16_aligned, "movdqa (%0), %%xmm0")
INSTRUCTION(vector_16_compare, "pcmpeqb (%0), %%xmm0")
INSTRUCTION(half_8, "movq (%0), %%xmm0")
INSTRUCTION(conditional_4, "cmovel (%0), %%eax")
INSTRUCTION(write_1, "movb $1, (%0)")
INSTRUCTION(write_2, "movw $1, (%0)")
INSTRUCTION(write_4, "movl $1, (%0)")
INSTRUCTION(write_8, "movq %%rax, (%0)")
INSTRUCTION(write_8_at, "movq $1, 8(%0)")
INSTRUCTION(write_16, "movups %%xmm0, (%0)")
INSTRUCTION(locked_4, "lock xaddl %%eax, (%0)")
INSTRUCTION(locked_8, "lock incq (%0)")
INSTRUCTION(swap_8, "lock cmpxchgq %%rax, (%0)")
INSTRUCTION(avx_32, "vmovdqu (%0), %%ymm0")
INSTRUCTION(avx_32_compare, "vpcmpeqb (%0), %%ymm0, %%ymm1")
INSTRUCTION(avx_8, "vaddsd (%0), %%xmm0, %%xmm1")

static const struct row instructions[] = {
	{ read_1, "read of 1 byte at", false }, { read_1_wide, "read of 1 byte at", false },
	{ read_2, "read of 2 bytes at", false }, { read_2_plain, "read of 2 bytes at", false },
	{ read_4, "read of 4 bytes at", false }, { read_4_wide, "read of 4 bytes at", false },
	{ read_8, "read of 8 bytes at", false }, { read_8_add, "read of 8 bytes at", false },
	{ compare_1, "read of 1 byte at", false }, { compare_4, "read of 4 bytes at", false },
	{ call_8, "read of 8 bytes at", false }, { float_4, "read of 4 bytes at", false },
	{ float_8, "read of 8 bytes at", false }, { vector_16, "read of 16 bytes at", false },
	{ vector_16_aligned, "read of 16 bytes at", false }, { vector_16_compare, "read of 16 bytes at", false },
	{ half_8, "read of 8 bytes at", false }, { conditional_4, "read of 4 bytes at", false },
	{ write_1, "write of 1 byte at", false }, { write_2, "write of 2 bytes at", false },
	{ write_4, "write of 4 bytes at", false }, { write_8, "write of 8 bytes at", false },
	{ write_8_at, "write of 8 bytes at", false }, { write_16, "write of 16 bytes at", false },
	{ locked_4, "write of 4 bytes at", false }, { locked_8, "write of 8 bytes at", false },
	{ swap_8, "write of 8 bytes at", false }, { avx_32, "read of 32 bytes at", true },
	{ avx_32_compare, "read of 32 bytes at", true }, { avx_8, "read of 8 bytes at", true },
};

#define RUNS_AVX __builtin_cpu_supports("avx2")

#elif defined(__aarch64__)
#define INSTRUCTION(name, text) static void name(void *place) { __asm__ volatile(text :: "r"(place) : "x9", "x10", "v0", "v1", "memory"); }
INSTRUCTION(read_1, "ldrb w9, [%0]")
INSTRUCTION(read_1_wide, "ldrsb x9, [%0]")
INSTRUCTION(read_2, "ldrh w9, [%0]")
INSTRUCTION(read_4, "ldr w9, [%0]")
INSTRUCTION(read_4_wide, "ldrsw x9, [%0]")
INSTRUCTION(read_8, "ldr x9, [%0]")
INSTRUCTION(read_8_behind, "ldr x9, [%0], #8")
INSTRUCTION(read_8_unscaled, "ldur x9, [%0]")
INSTRUCTION(read_8_ordered, "ldar x9, [%0]")
INSTRUCTION(read_8_exclusive, "ldaxr x9, [%0]")
INSTRUCTION(read_pair, "ldp x9, x10, [%0]")
INSTRUCTION(read_pair_4, "ldp w9, w10, [%0]")
INSTRUCTION(float_4, "ldr s0, [%0]")
INSTRUCTION(vector_16, "ldr q0, [%0]")
INSTRUCTION(vector_pair, "ldp q0, q1, [%0]")
INSTRUCTION(write_1, "strb wzr, [%0]")
INSTRUCTION(write_2, "strh wzr, [%0]")
INSTRUCTION(write_4, "str wzr, [%0]")
INSTRUCTION(write_8, "str xzr, [%0]")
INSTRUCTION(write_8_ordered, "stlr xzr, [%0]")
INSTRUCTION(write_pair, "stp xzr, xzr, [%0]")
INSTRUCTION(write_16, "str q0, [%0]")
INSTRUCTION(write_vector_pair, "stp q0, q1, [%0]")

static const struct row instructions[] = {
	{ read_1, "read of 1 byte at", false }, { read_1_wide, "read of 1 byte at", false },
	{ read_2, "read of 2 bytes at", false }, { read_4, "read of 4 bytes at", false },
	{ read_4_wide, "read of 4 bytes at", false }, { read_8, "read of 8 bytes at", false },
	{ read_8_behind, "read of 8 bytes at", false }, { read_8_unscaled, "read of 8 bytes at", false },
	{ read_8_ordered, "read of 8 bytes at", false }, { read_8_exclusive, "read of 8 bytes at", false },
	{ read_pair, "read of 16 bytes at", false }, { read_pair_4, "read of 8 bytes at", false },
	{ float_4, "read of 4 bytes at", false }, { vector_16, "read of 16 bytes at", false },
	{ vector_pair, "read of 32 bytes at", false }, { write_1, "write of 1 byte at", false },
	{ write_2, "write of 2 bytes at", false }, { write_4, "write of 4 bytes at", false },
	{ write_8, "write of 8 bytes at", false }, { write_8_ordered, "write of 8 bytes at", false },
	{ write_pair, "write of 16 bytes at", false }, { write_16, "write of 16 bytes at", false },
	{ write_vector_pair, "write of 32 bytes at", false },
};
#define RUNS_AVX false

#endif

static void run_instruction(void *argument)
{
	const struct row *row = argument;

	start(false);
	row->run(block_pages + 2 * PAGE);
}

static void test_access_bytes(void **state UNUSED)
{
	skip_where_accesses_show();
	prepare(GUARDED_LIVE, false);
	for (size_t i = 0; i < sizeof(instructions) / sizeof(instructions[0]); i++) {
		if (instructions[i].avx && !RUNS_AVX)
			continue;
		child_run(run_instruction, (void *)(uintptr_t)&instructions[i], said, sizeof(said));
		if (strstr(said, instructions[i].says) == NULL)
			fail_msg("instruction %zu: %s is not in %.80s", i, instructions[i].says, said);
	}
}

/* ---- Threads, alternate stacks, little room ---- */

static void *act_in_thread(void *argument)
{
	act(argument);
	return NULL;
}

static void run_in_thread(void *argument)
{
	pthread_t thread;

	start(false);
	pthread_create(&thread, NULL, act_in_thread, argument);
	pthread_join(thread, NULL);
}

static void deepen(size_t depth, void *argument)
{
	volatile char room[512];

	room[0] = 1;
	if (depth > 0)
		deepen(depth - 1, argument);
	else
		act(argument);
	room[1] = room[0];
}

static void *act_deep(void *argument)
{
	deepen(100, argument);
	return NULL;
}

static void run_deep(void *argument)
{
	pthread_t thread;

	start(false);
	pthread_create(&thread, NULL, act_deep, argument);
	pthread_join(thread, NULL);
}

static void on_user_signal(int number UNUSED)
{
	struct access access = { WRITE, SIZE };
	act(&access);
}

static void run_in_handler(void *argument UNUSED)
{
	start(false);
	signal(SIGUSR1, on_user_signal);
	raise(SIGUSR1);
}

static void test_contexts(void **state UNUSED)
{
	struct access access = { WRITE, SIZE };

	prepare(GUARDED_LIVE, false);
	void (*const runs[])(void *) = { run_in_thread, run_deep, run_in_handler };
	/* ThreadSanitizer calls handlers with all signals blocked: a fault in one ends the process. */
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]) - THREAD_SANITIZED; i++) {
		int status = child_run(runs[i], &access, said, sizeof(said));
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		assert_memory_equal(said, "quarry: write of 1 byte at 0x", 29);
		assert_non_null(strstr(said, "#overflow\n"));
		assert_null(strstr(said, "another mistake"));
	}
}

/* ---- Going on ---- */

static void run_on(void *argument)
{
	may_open = true;
	start(true);
	act(argument);
	act(argument);
	MUST(block_start()[SIZE] == 1);
}

static void run_on_closed(void *argument)
{
	start(true);
	act(argument);
}

static void test_go_on(void **state UNUSED)
{
	struct access access = { WRITE, SIZE };

	prepare(GUARDED_LIVE, false);
	ASSERT_EXITED(child_run(run_on, &access, said, sizeof(said)));
	assert_memory_equal(said, "quarry: write of 1 byte at 0x", 29);
	/* Once for a page: it is accessible then. */
	assert_null(strstr(said + 1, "quarry: "));
	int status = child_run(run_on_closed, &access, said, sizeof(said));
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* ---- Others' faults ---- */

static sigjmp_buf back;
static volatile int calls;
static volatile int blocked_signal;

static void old_plain(int number)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	blocked_signal = sigismember(&now, number);
	calls++;
	siglongjmp(back, 1);
}

static void old_informed(int number UNUSED, siginfo_t *information, void *context)
{
	sigset_t now;

	MUST(context != NULL);
	MUST(information->si_addr == (void *)0x10);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	blocked_signal = sigismember(&now, SIGUSR2);
	calls++;
	siglongjmp(back, 1);
}

static void fault_elsewhere(void)
{
	volatile char *nowhere = (volatile char *)hide(0x10);

	if (sigsetjmp(back, 1) == 0)
		*nowhere = 1;
}

static void run_plain(void *argument UNUSED)
{
	signal(SIGSEGV, old_plain);
	start(false);
	fault_elsewhere();
	fault_elsewhere();
	MUST(calls == 2 && blocked_signal == 1);
}

static void run_informed(void *argument UNUSED)
{
	struct sigaction action = { .sa_sigaction = old_informed, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaddset(&action.sa_mask, SIGUSR2);
	sigaction(SIGSEGV, &action, NULL);
	start(false);
	fault_elsewhere();
	MUST(calls == 1 && blocked_signal == 1);
}

/* SA_RESETHAND: once, then the default. */
static void run_once(void *argument UNUSED)
{
	struct sigaction action = { .sa_handler = old_plain, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGSEGV, &action, NULL);
	start(false);
	fault_elsewhere();
	MUST(calls == 1);
	fault_elsewhere();
	_exit(1);
}

static void run_default(void *argument UNUSED)
{
	start(false);
	fault_elsewhere();
	_exit(1);
}

static void run_sent(void *argument UNUSED)
{
	start(false);
	kill(getpid(), SIGSEGV);
	_exit(1);
}

static void run_ignored(void *argument UNUSED)
{
	signal(SIGSEGV, SIG_IGN);
	start(false);
	kill(getpid(), SIGSEGV);
}

/* One that the program installs later works, for our memory too. */
static void run_later(void *argument UNUSED)
{
	start(false);
	signal(SIGSEGV, old_plain);
	fault_elsewhere();
	if (sigsetjmp(back, 1) == 0)
		act(&(struct access){ WRITE, SIZE });
	MUST(calls == 2);
}

/* A crash reporter that was there before sees our faults, too, after the report. */
static void run_reporter(void *argument UNUSED)
{
	signal(SIGSEGV, old_plain);
	start(false);
	if (sigsetjmp(back, 1) == 0)
		act(&(struct access){ WRITE, SIZE });
	MUST(calls == 1);
	if (sigsetjmp(back, 1) == 0)
		act(&(struct access){ WRITE, SIZE });
	MUST(calls == 2);
}

static void run_bus(void *argument UNUSED)
{
	char name[] = "/tmp/quarry-fault-XXXXXX";
	int file = mkstemp(name);

	start(false);
	unlink(name);
	volatile char *map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
	(void)map[0];
	_exit(1);
}

static void test_others(void **state UNUSED)
{
	static const struct {
		void (*run)(void *);
		int signal;
		const char *says;
	} rows[] = {
		{ run_plain, 0, NULL },
		{ run_informed, 0, NULL },
		{ run_once, SIGSEGV, NULL },
		{ run_default, SIGSEGV, NULL },
		{ run_sent, SIGSEGV, NULL },
		{ run_ignored, 0, NULL },
		{ run_later, 0, NULL },
		{ run_reporter, 0, "quarry: write of 1 byte at 0x" },
		{ run_bus, SIGBUS, NULL },
	};

	skip_where_accesses_show();
	prepare(GUARDED_LIVE, false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int status = child_run(rows[i].run, NULL, said, sizeof(said));
		print_message("# row %zu: %#x\n", i, (unsigned)status);
		if (rows[i].signal != 0)
			assert_true(WIFSIGNALED(status) && WTERMSIG(status) == rows[i].signal);
		else
			ASSERT_EXITED(status);
		if (rows[i].says == NULL)
			assert_string_equal(said, "");
		else
			assert_memory_equal(said, rows[i].says, strlen(rows[i].says));
	}
}

/* ---- Walking a stack that isn't there ---- */

static void run_probe(void *argument UNUSED)
{
	uintptr_t word = 4711;
	uintptr_t here = 17;

	start(false);
	MUST(!unwind_read(0x10, &word) && word == 4711);
	MUST(!unwind_read((uintptr_t)block_pages, &word));
	MUST(unwind_read((uintptr_t)&here, &word) && word == 17);
}

static void test_probe(void **state UNUSED)
{
	skip_where_accesses_show();
#if defined(__x86_64__) || defined(__aarch64__)
	prepare(GUARDED_LIVE, false);
	ASSERT_EXITED(child_run(run_probe, NULL, said, sizeof(said)));
	assert_string_equal(said, "");
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_markers),
		cmocka_unit_test(test_protection),
		cmocka_unit_test(test_access_bytes),
		cmocka_unit_test(test_contexts),
		cmocka_unit_test(test_go_on),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

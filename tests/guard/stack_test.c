/* Stacks and threads as numbers: walks against return addresses that are known, and against libgcc's unwinder; the depot
 * under collisions, when full, under threads; notes of threads. */
#include "model/support.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#ifdef __GLIBC__
#include <unwind.h>
#endif

#include "guard/stack.h"
#include "os/os.h"

#define DEPTH STACK_FRAMES_MAX

#if defined(__GNUC__) && !defined(__clang__)
#define WITH_POINTER __attribute__((noinline, noclone, optimize("no-omit-frame-pointer", "no-optimize-sibling-calls")))
#define WITHOUT_POINTER __attribute__((noinline, noclone, optimize("omit-frame-pointer", "no-optimize-sibling-calls")))
#else
#define WITH_POINTER __attribute__((noinline))
#define WITHOUT_POINTER __attribute__((noinline))
#endif

/* So much alignment leaves a gap between this program's pieces, and its unwind tables are not in the piece that its code is
 * in, as in all programs of ARM's. */
ALIGNED(2 * MIB) static volatile char far_away;

/* What each function of a chain knows of itself, outermost first. */
static _Thread_local uintptr_t known[DEPTH];
static _Thread_local size_t known_count;

#define KNOW() (known[known_count++] = (uintptr_t)__builtin_return_address(0))
/* Nothing may become a jump. */
#define AFTER() __asm__ volatile("" ::: "memory")

static _Thread_local uintptr_t seen[DEPTH];
static _Thread_local size_t seen_count;
static _Thread_local uint32_t seen_number;

static void configure(void)
{
	far_away = 1;
	assert_true(stack_configure(DEPTH, 16 * MIB, true));
}

WITH_POINTER static void look(void)
{
	KNOW();
	seen_number = stack_capture(__builtin_frame_address(0), 0);
	seen_count = stack_frames(seen_number, seen, DEPTH);
	AFTER();
}

static void assert_chain(size_t functions)
{
	assert_int_equal(known_count, functions);
	assert_true(seen_count >= functions);
	for (size_t i = 0; i < functions; i++)
		assert_int_equal(seen[i], known[functions - 1 - i]);
}

#define CHAIN(kind, name, statements, next) kind static void name(size_t bytes UNUSED) { KNOW(); statements; next; AFTER(); }
#define DYNAMIC volatile char *room = __builtin_alloca(bytes); room[0] = 1
#define REALIGNED volatile char aligned[256] __attribute__((aligned(256), unused)); aligned[0] = 1
#define LARGE volatile char large[100000] UNUSED; large[0] = large[sizeof(large) - 1] = 1

CHAIN(WITH_POINTER, pointer_3, , look())
CHAIN(WITH_POINTER, pointer_2, DYNAMIC, pointer_3(bytes))
CHAIN(WITH_POINTER, pointer_1, , pointer_2(bytes))
CHAIN(WITHOUT_POINTER, plain_3, , look())
CHAIN(WITHOUT_POINTER, plain_2, LARGE, plain_3(bytes))
CHAIN(WITHOUT_POINTER, plain_1, , plain_2(bytes))
CHAIN(WITHOUT_POINTER, mixed_6, REALIGNED, look())
CHAIN(WITHOUT_POINTER, mixed_5, DYNAMIC; REALIGNED, mixed_6(bytes))
CHAIN(WITH_POINTER, mixed_4, , mixed_5(bytes))
CHAIN(WITHOUT_POINTER, mixed_3, , mixed_4(bytes))
CHAIN(WITHOUT_POINTER, mixed_2, DYNAMIC, mixed_3(bytes))
CHAIN(WITH_POINTER, mixed_1, , mixed_2(bytes))

static void (*volatile const chains[])(size_t) = { pointer_1, plain_1, mixed_1 };
static const size_t chain_functions[] = { 4, 4, 7 };

/* Twice: the second time from what was remembered, with other sizes of what is dynamic. */
static void test_chains(void **state UNUSED)
{
	configure();
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		uintptr_t before[DEPTH] = { 0 };
		uint32_t first = 0;
		for (size_t round = 0; round < 3; round++) {
			memcpy(before, known, sizeof(before));
			known_count = 0;
			chains[i](hide(1000 * (round + 1)));
			assert_chain(chain_functions[i]);
			assert_int_not_equal(seen_number, 0);
			/* Compilers may make two calls of one, by the size, or of the loop. */
			if (memcmp(before, known, known_count * sizeof(known[0])) == 0)
				assert_true(first == 0 || first == seen_number);
			first = seen_number;
		}
	}
}

/* ---- Against another unwinder, through functions of the C library ---- */

#ifdef __GLIBC__

struct trace {
	uintptr_t frames[DEPTH];
	size_t count;
};

static _Unwind_Reason_Code trace_add(struct _Unwind_Context *context, void *argument)
{
	struct trace *trace = argument;

	if (trace->count < DEPTH)
		trace->frames[trace->count++] = _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static size_t compared;

WITH_POINTER static void compare(void)
{
	struct trace trace = { .count = 0 };
	uintptr_t frames[DEPTH];

	_Unwind_Backtrace(trace_add, &trace);
	size_t count = stack_here(__builtin_frame_address(0), frames, DEPTH);
	/* The first of the others' is here. */
	size_t others = trace.count - 1;
	while (others > 0 && trace.frames[others] == 0)
		others--;
	assert_int_equal(count, others);
	assert_memory_equal(frames, trace.frames + 1, count * sizeof(frames[0]));
	compared++;
}

static int compare_items(const void *a, const void *b)
{
	if (compared < 8)
		compare();
	return *(const int *)a - *(const int *)b;
}

static void deep(size_t depth)
{
	volatile char room[64];

	room[0] = (char)depth;
	if (depth > 0)
		deep(depth - 1);
	else
		compare();
	room[1] = room[0];
}

static void test_other_unwinder(void **state UNUSED)
{
	int items[] = { 5, 3, 8, 1, 9, 2 };

	configure();
	compared = 0;
	qsort(items, sizeof(items) / sizeof(items[0]), sizeof(items[0]), compare_items);
	assert_int_equal(compared, 8);
	for (size_t depth = 0; depth < 20; depth++)
		deep(depth);
}

#else

static void test_other_unwinder(void **state UNUSED)
{
	print_message("# skipped: libgcc's unwinder is made for glibc here\n");
	skip();
}

#endif

static void test_depth(void **state UNUSED)
{
	uintptr_t frames[4];
	uintptr_t many[DEPTH];

	configure();
	assert_int_equal(stack_here(__builtin_frame_address(0), frames, 0), 0);
	assert_int_equal(stack_here(__builtin_frame_address(0), frames, 1), 1);
	assert_int_equal(frames[0], (uintptr_t)__builtin_return_address(0));
	size_t count = stack_here(__builtin_frame_address(0), many, DEPTH);
	assert_true(count > 2);
	uint32_t skipped = stack_capture(__builtin_frame_address(0), 1);
	assert_int_equal(stack_frames(skipped, frames, 4), min_size(count - 1, 4));
	assert_int_equal(frames[0], many[1]);
	assert_int_equal(stack_capture(__builtin_frame_address(0), 1000), 0);
	assert_int_equal(stack_frames(0, frames, 4), 0);
	assert_int_equal(stack_frames(UINT32_MAX, frames, 4), 0);
}

/* ---- Signals, other stacks ---- */
static char other_stack[256 * 1024];
static volatile uintptr_t interrupted_count;
static uintptr_t interrupted[DEPTH];
static uintptr_t handler_frames[DEPTH];
static volatile size_t handler_count;
static uintptr_t interrupted_pc;

static uintptr_t pc_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return context->uc_mcontext.pc;
#endif
}

static void on_signal(int number UNUSED, siginfo_t *information UNUSED, void *context)
{
	interrupted_pc = pc_of(context);
	interrupted_count = stack_capture_context(context, interrupted, DEPTH);
	handler_count = stack_here(__builtin_frame_address(0), handler_frames, DEPTH);
}

WITHOUT_POINTER static void interrupt(void)
{
	KNOW();
	raise(SIGUSR1);
	AFTER();
}

WITHOUT_POINTER static void interrupt_outer(void)
{
	KNOW();
	interrupt();
	AFTER();
}

static size_t position(const uintptr_t *frames, size_t count, uintptr_t frame)
{
	for (size_t i = 0; i < count; i++)
		if (frames[i] == frame)
			return i;
	return SIZE_MAX;
}

static void signal_look(int flags)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags };
	stack_t stack = { .ss_sp = other_stack, .ss_size = sizeof(other_stack) };
	stack_t before;

	assert_int_equal(sigaltstack(&stack, &before), 0);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	known_count = 0;
	interrupt_outer();
	sigaltstack(&before, NULL);
	/* The function that raised is the C library's; above it stand ours. */
	assert_int_equal(interrupted[0], interrupted_pc);
	size_t at = position(interrupted, interrupted_count, known[1]);
	assert_true(at != SIZE_MAX && at > 0);
	assert_int_equal(interrupted[at + 1], known[0]);
	/* The handler's own stack goes through the kernel's frame to the same. */
	size_t in_handler = position(handler_frames, handler_count, interrupted_pc);
	assert_true(in_handler != SIZE_MAX && in_handler > 0);
	for (size_t i = 0; i <= at + 1; i++)
		assert_int_equal(handler_frames[in_handler + i], interrupted[i]);
}

static void test_signal(void **state UNUSED)
{
	SKIP_EMULATED("a signal's trampoline is in no object");
#ifndef __GLIBC__
	print_message("# skipped: this C library's own functions have no unwind tables\n");
	skip();
#endif
	configure();
	signal_look(0);
	signal_look(SA_ONSTACK);
}

#ifdef __GLIBC__

static ucontext_t main_context;
/* Of its own: valgrind takes what a handler has left of its stack for inaccessible. */
static char coroutine_stack[256 * 1024];

static void coroutine(void)
{
	known_count = 0;
	mixed_1(hide(500));
	swapcontext(&(ucontext_t){ 0 }, &main_context);
}

static void test_coroutine(void **state UNUSED)
{
	ucontext_t context;

	configure();
	getcontext(&context);
	context.uc_stack.ss_sp = coroutine_stack;
	context.uc_stack.ss_size = sizeof(coroutine_stack);
	context.uc_link = NULL;
	makecontext(&context, coroutine, 0);
	swapcontext(&main_context, &context);
	assert_chain(7);
	assert_true(seen_count <= 7 + 3);
}

#else

static void test_coroutine(void **state UNUSED)
{
	print_message("# skipped: this C library has no makecontext\n");
	skip();
}

#endif

/* Code without tables, as a just-in-time compiler makes it. */
static void test_no_tables(void **state UNUSED)
{
#if defined(__x86_64__)
	/* push %rbp; mov %rsp,%rbp; sub $32,%rsp; call *%rsi; leave; ret */
	static const unsigned char with_pointer[] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xff, 0xd6, 0xc9, 0xc3 };
	/* push %rbx; xor %ebp,%ebp ... is a caller's frame pointer lost: push %rbp; xor %ebp,%ebp; call *%rsi; pop %rbp; ret */
	static const unsigned char without[] = { 0x55, 0x31, 0xed, 0xff, 0xd6, 0x5d, 0xc3 };
	char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	configure();
	assert_true(code != MAP_FAILED);
	memcpy(code, with_pointer, sizeof(with_pointer));
	memcpy(code + 64, without, sizeof(without));
	assert_int_equal(mprotect(code, 4096, PROT_READ | PROT_EXEC), 0);
	for (size_t round = 0; round < 2; round++) {
		known_count = 0;
		((void (*)(size_t, void (*)(size_t)))(uintptr_t)code)(100, mixed_1);
		assert_true(seen_count > 8);
		assert_int_equal(known_count, 7);
		for (size_t i = 0; i < 7; i++)
			assert_int_equal(seen[i], known[6 - i]);
		assert_true(seen[7] > (uintptr_t)test_no_tables && seen[7] < (uintptr_t)test_no_tables + 16384);
		/* Where nothing is sound, the walk ends, and what is known is right. */
		known_count = 0;
		((void (*)(size_t, void (*)(size_t)))(uintptr_t)(code + 64))(100, mixed_1);
		assert_chain(7);
		assert_int_equal(seen_count, 7);
	}
	munmap(code, 4096);
#else
	print_message("# skipped: written in x86-64's instructions\n");
	skip();
#endif
}

/* More return addresses than are remembered: one's rule is never taken for another's. */
static void test_many_addresses(void **state UNUSED)
{
#if defined(__x86_64__)
	/* push %rbp; mov %rsp,%rbp; sub $32,%rsp; call *%rsi; leave; ret */
	static const unsigned char call[16] = { 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xff, 0xd6, 0xc9, 0xc3 };
	const size_t count = rounds(1 << 16, 1 << 12);
	char *code = mmap(NULL, count * sizeof(call), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	configure();
	assert_true(code != MAP_FAILED);
	for (size_t i = 0; i < count; i++)
		memcpy(code + i * sizeof(call), call, sizeof(call));
	assert_int_equal(mprotect(code, count * sizeof(call), PROT_READ | PROT_EXEC), 0);
	for (size_t i = 0; i < count; i++) {
		known_count = 0;
		((void (*)(size_t, void (*)(size_t)))(uintptr_t)(code + i * sizeof(call)))(100, mixed_1);
		MUST(known_count == 7 && seen_count > 8);
		for (size_t k = 0; k < 7; k++)
			MUST(seen[k] == known[6 - k]);
		MUST(seen[6] - (uintptr_t)code == i * sizeof(call) + 10);
	}
	munmap(code, count * sizeof(call));
#else
	print_message("# skipped: written in x86-64's instructions\n");
	skip();
#endif
}

/* ---- The depot ---- */

/* In a child: afterwards these places have no room, and the depot mustn't be half full before. */
static void collide(void *argument UNUSED)
{
	uintptr_t frames[3] = { 0x555500001000, 0x7fff00002000, 0x1 };
	uintptr_t read[4];
	uint32_t numbers[40];

	MUST(stack_configure(DEPTH, 16 * MIB, true));
	for (size_t i = 0; i < 40; i++) {
		frames[2] = UINTPTR_MAX - i * 0x123456789abcdef;
		numbers[i] = stack_keep(42, frames, 3);
		MUST(numbers[i] != 0);
		for (size_t other = 0; other < i; other++)
			MUST(numbers[other] != numbers[i]);
	}
	for (size_t i = 0; i < 40; i++) {
		frames[2] = UINTPTR_MAX - i * 0x123456789abcdef;
		MUST(stack_keep(42, frames, 3) == numbers[i]);
		MUST(stack_frames(numbers[i], read, 4) == 3);
		MUST(memcmp(read, frames, sizeof(frames)) == 0);
	}
	/* The same beginning is not the same stack. */
	MUST(stack_keep(42, frames, 2) != numbers[39]);
	/* No index grows: at some point a hash has no room, and says so. */
	size_t kept = 0;
	for (size_t i = 0; i < 100; i++) {
		frames[2] = i;
		kept += stack_keep(42, frames, 3) != 0;
	}
	MUST(kept < 100);
}

static void test_collisions(void **state UNUSED)
{
	ASSERT_EXITED(child_run(collide, NULL, NULL, 0));
}

static void fill(void *argument UNUSED)
{
	struct random random = { 0x1234567 };
	uintptr_t frames[DEPTH];
	uint32_t first = 0;
	uint32_t number;
	size_t kept = 0;

	MUST(stack_configure(DEPTH, 256 * KIB, true));
	do {
		for (size_t i = 0; i < DEPTH; i++)
			frames[i] = random_next(&random);
		number = stack_keep(frames[0], frames, DEPTH);
		first = first != 0 ? first : number;
		kept += number != 0;
	} while (number != 0);
	/* 10 bytes are the most that a frame takes. */
	MUST(kept >= 256 * KIB / (10 * DEPTH + 24) - 1 && kept <= 256 * KIB / (8 * DEPTH));
	MUST(stack_depot_count() == kept && stack_depot_bytes() <= 256 * KIB);
	MUST(stack_frames(first, frames, DEPTH) == DEPTH);
	/* What is there is still found. */
	random.state = 0x1234567;
	for (size_t i = 0; i < DEPTH; i++)
		MUST(frames[i] == random_next(&random));
	MUST(stack_keep(frames[0], frames, DEPTH) == first);
}

static void unknown(void *argument UNUSED)
{
	uintptr_t frames[4];
	char name[16] = "x";
	int id = 1;

	MUST(stack_capture(__builtin_frame_address(0), 0) == 0);
	MUST(stack_frames(1, frames, 4) == 0);
	MUST(thread_note() == 0);
	thread_note_get(1, &id, name);
	MUST(id == 0 && name[0] == 0);
	MUST(stack_depot_bytes() == 0);
}

/* In children, because it is configured once. First of all. */
static void test_before_and_full(void **state UNUSED)
{
	ASSERT_EXITED(child_run(unknown, NULL, NULL, 0));
	ASSERT_EXITED(child_run(fill, NULL, NULL, 0));
}

static void test_compact(void **state UNUSED)
{
	uintptr_t frames[20];

	configure();
	for (size_t i = 0; i < 20; i++)
		frames[i] = 0x555555550000 + i * 37 * 1024;
	size_t before = stack_depot_bytes();
	assert_int_not_equal(stack_keep(77, frames, 20), 0);
	assert_true(stack_depot_bytes() - before <= 10 + 7 + 20 * 3 + 7);
}

#define THREADS 4
#define STACKS 500

static uint32_t numbers[THREADS][STACKS];

static void *keep_many(void *argument)
{
	uint32_t *mine = argument;
	uintptr_t frames[8];
	uintptr_t read[8];

	for (size_t i = 0; i < STACKS; i++) {
		for (size_t k = 0; k < 8; k++)
			frames[k] = 0x7000000 + i * 8 + k * k * 4096;
		mine[i] = stack_keep(i / 4 * 0x9e3779b97f4a7c15u, frames, 8);
		MUST(mine[i] != 0 && stack_frames(mine[i], read, 8) == 8 && memcmp(read, frames, sizeof(read)) == 0);
		known_count = 0;
		mixed_1(hide(100));
		MUST(seen_count >= 7);
		for (size_t k = 0; k < 7; k++)
			MUST(seen[k] == known[6 - k]);
	}
	return NULL;
}

static void test_threads(void **state UNUSED)
{
	pthread_t threads[THREADS];

	configure();
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_many, numbers[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 1; i < THREADS; i++)
		assert_memory_equal(numbers[i], numbers[0], sizeof(numbers[0]));
}

/* ---- Threads ---- */

static void assert_note(uint32_t note, int id, const char *name)
{
	char read[16];
	int read_id;

	thread_note_get(note, &read_id, read);
	MUST(read_id == id);
	MUST(strcmp(read, name) == 0);
}

static void *noted(void *argument)
{
	uint32_t *note = argument;

	MUST(os_thread_id_quick() == os_thread_id());
	prctl(PR_SET_NAME, "first");
	*note = thread_note();
	MUST(*note != 0 && thread_note() == *note);
	assert_note(*note, os_thread_id(), "first");
	/* A new name shows after some calls, and the old one stays with what was noted under it. */
	prctl(PR_SET_NAME, "second");
	uint32_t now = *note;
	for (size_t i = 0; i < 600 && now == *note; i++)
		now = thread_note();
	assert_note(now, os_thread_id(), "second");
	assert_note(*note, os_thread_id(), "first");
	return NULL;
}

static void note_in_child(void *argument)
{
	uint32_t before = *(uint32_t *)argument;

	MUST(os_thread_id_quick() == os_thread_id());
	MUST(thread_note() != before);
	assert_note(thread_note(), os_thread_id(), "a test");
	known_count = 0;
	mixed_1(hide(100));
	MUST(seen_count >= 7);
}

static void test_notes(void **state UNUSED)
{
	uint32_t notes[3];
	pthread_t thread;

	configure();
	prctl(PR_SET_NAME, "a test");
	uint32_t own = thread_note();
	assert_int_not_equal(own, 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(pthread_create(&thread, NULL, noted, &notes[i]), 0);
		pthread_join(thread, NULL);
		assert_int_not_equal(notes[i], own);
	}
	assert_note(0, 0, "");
	assert_note(own + 65536, 0, "");
	ASSERT_EXITED(child_run(note_in_child, &own, NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_and_full),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_other_unwinder),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_coroutine),
		cmocka_unit_test(test_no_tables),
		cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What a stack costs: nanoseconds per capture at several depths, for functions with and without frame pointers, of a
 * stack that the depot knows; per walk without the depot; the same by libgcc's unwinder; per note of the thread.
 *
 *     gcc -O2 -D_GNU_SOURCE -Isrc -Iinclude bench/stacks.c BUILD/libcore.a -o stacks && ./stacks */
#include <stdio.h>
#include <time.h>
#include <unwind.h>

#include "guard/stack.h"

#define ROUNDS 200000

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *argument)
{
	*(uintptr_t *)argument += _Unwind_GetIP(context);
	return _URC_NO_REASON;
}

static void measure(const char *kind, size_t depth)
{
	uintptr_t frames[STACK_FRAMES_MAX];
	uintptr_t sum = 0;
	double start = now_ns();

	stack_capture(__builtin_frame_address(0), 0);
	double first = now_ns() - start;
	start = now_ns();
	for (int i = 0; i < ROUNDS; i++)
		stack_capture(__builtin_frame_address(0), 0);
	double capture = (now_ns() - start) / ROUNDS;
	start = now_ns();
	for (int i = 0; i < ROUNDS; i++)
		sum += stack_here(__builtin_frame_address(0), frames, STACK_FRAMES_MAX);
	double walk = (now_ns() - start) / ROUNDS;
	start = now_ns();
	for (int i = 0; i < ROUNDS / 100; i++)
		_Unwind_Backtrace(count_frame, &sum);
	double other = (now_ns() - start) / (ROUNDS / 100);
	printf("%-8s %2zu frames: first %6.0f ns, capture %5.0f, walk %5.0f, libgcc's %6.0f\n", kind, depth + 5, first, capture,
	       walk, other);
}

#define DEEP(name, word) \
	__attribute__((noinline, optimize(word))) static void name(size_t depth, size_t left) \
	{ \
		if (left == 0) \
			measure(#name, depth); \
		else \
			name(depth, left - 1); \
		__asm__ volatile("" ::: "memory"); \
	}
DEEP(pointer, "no-omit-frame-pointer")
DEEP(plain, "omit-frame-pointer")

int main(void)
{
	if (!stack_configure(STACK_FRAMES_MAX, (size_t)1 << 20, true))
		return 1;
	for (size_t depth = 3; depth <= 48; depth *= 2) {
		pointer(depth, depth);
		plain(depth, depth);
	}
	double start = now_ns();
	for (int i = 0; i < ROUNDS; i++)
		thread_note();
	printf("thread_note %.1f ns\n", (now_ns() - start) / ROUNDS);
	return 0;
}

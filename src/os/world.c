/* Stops all other threads of the process for a moment, each in a signal's handler: see os.h.
 *
 * A signal, not ptrace from a helper: that is refused in many containers, under a debugger, and for who may not be dumped.
 * What it costs is what any signal costs: a call that the kernel does not begin anew (sleep, poll) ends early with EINTR.
 *
 * The signal is a real-time one that the program has left at its default. A thread that blocks it is not sent any: it
 * would meet it later. The handler stays, for a thread that meets its signal late; it returns at once then. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "base/bits.h"
#include "base/port.h"
#include "os/fault.h"
#include "os/os.h"
#include "os/syscall.h"

/* What a thread in the kernel may need to come to its handler: one that is to come does within microseconds. */
#define ANSWER_MS 200
/* Threads that were made while others were stopped: their makers are stopped then, so that it ends soon. */
#define ROUNDS_MAX 16

static struct {
	struct os_stopped *threads;     /* of this stop; written before `round` is odd */
	size_t most;
	_Atomic uint32_t round;         /* odd: stopping */
	_Atomic uint32_t entered;       /* rows that were taken */
	_Atomic uint32_t answered;      /* rows that are written: release */
	_Atomic uint32_t inside;        /* threads in the handler */
	int number;                     /* our signal, 0 before it is chosen */
} world;

static uintptr_t stack_of(const ucontext_t *context)
{
#if defined(__x86_64__)
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
	return (uintptr_t)context->uc_mcontext.sp;
#else
	return (uintptr_t)context;
#endif
}

/* All registers, those of vectors too: compilers keep pairs of pointers in them. */
static void registers_copy(const ucontext_t *context, struct os_stopped *thread)
{
	size_t bytes = min_size(sizeof(context->uc_mcontext), sizeof(thread->registers));

	memcpy(thread->registers, &context->uc_mcontext, bytes);
#if defined(__x86_64__)
	if (context->uc_mcontext.fpregs != NULL)
		memcpy((char *)thread->registers + bytes, context->uc_mcontext.fpregs,
		       min_size(sizeof(*context->uc_mcontext.fpregs), sizeof(thread->registers) - bytes));
#endif
}

static void on_stop(int number UNUSED, siginfo_t *information UNUSED, void *context)
{
	atomic_fetch_add(&world.inside, 1);
	uint32_t round = atomic_load(&world.round);
	if (round % 2 != 0) {
		uint32_t row = atomic_fetch_add(&world.entered, 1);
		if (row < world.most) {
			struct os_stopped *thread = &world.threads[row];
			thread->id = os_thread_id();
			thread->stack = stack_of(context);
			registers_copy(context, thread);
		}
		atomic_fetch_add_explicit(&world.answered, 1, memory_order_release);
		port_futex_wake(&world.answered, UINT32_MAX >> 1);
		while (atomic_load(&world.round) == round)
			port_futex_wait(&world.round, round);
	}
	atomic_fetch_sub(&world.inside, 1);
}

static bool is_ours(int number)
{
	struct sigaction action;

	return os_signal_action(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0 &&
	       action.sa_sigaction == on_stop;
}

static bool is_free(int number)
{
	struct sigaction action;

	return os_signal_action(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
	       action.sa_handler == SIG_DFL;
}

/* The free one that the fewest of these threads block: who waits for a signal by sigwait blocks it in all others. */
static int number_choose(const int *ids, size_t count)
{
	size_t fewest = SIZE_MAX;
	int best = 0;

	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		size_t blocking = 0;
		if (!is_free(number) && !is_ours(number))
			continue;
		for (size_t i = 0; i < count && fewest > 0; i++) {
			uint64_t signals;
			blocking += os_thread_blocks(ids[i], &signals) && (signals >> (number - 1) & 1) != 0;
		}
		if (blocking < fewest) {
			fewest = blocking;
			best = number;
		}
		if (fewest == 0)
			break;
	}
	return best;
}

static bool handler_install(const int *ids, size_t count)
{
	/* SA_ONSTACK: some threads' own stacks have no room for a frame (Go's). */
	struct sigaction action = { .sa_sigaction = on_stop, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };

	if (world.number != 0 && is_ours(world.number))
		return true;
	world.number = number_choose(ids, count);
	sigfillset(&action.sa_mask);
	return world.number != 0 && os_signal_action(world.number, &action, NULL) == 0;
}

static bool has_row(int id)
{
	uint32_t rows = atomic_load_explicit(&world.answered, memory_order_acquire);

	for (uint32_t i = 0; i < rows && i < world.most; i++)
		if (world.threads[i].id == id)
			return true;
	return false;
}

static bool is_in(const int *ids, size_t count, int id)
{
	for (size_t i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Until so many have answered, or time is up. */
static void answers_wait(uint32_t wanted)
{
	uint64_t end = os_now_ns() + ANSWER_MS * UINT64_C(1000000);
	uint32_t now;

	while ((now = atomic_load_explicit(&world.answered, memory_order_acquire)) < wanted && os_now_ns() < end)
		os_futex_wait_ms(&world.answered, now, 1);
}

/* Sends the signal to who has not had one; returns how many. */
static uint32_t signals_send(const int *ids, size_t count, int *sent, size_t *sent_count, size_t most)
{
	uint32_t asked = 0;

	for (size_t i = 0; i < count && *sent_count < most; i++) {
		uint64_t blocked = 0;
		if (ids[i] == os_thread_id() || is_in(sent, *sent_count, ids[i]))
			continue;
		if (!os_thread_blocks(ids[i], &blocked) || (blocked >> (world.number - 1) & 1) != 0)
			continue;
		if (os_fault(OS_CALL_SIGNAL_SEND) != 0 ||
		    syscall_failed(SYSCALL3(SYS_tgkill, os_process_id(), ids[i], world.number)))
			continue;
		sent[(*sent_count)++] = ids[i];
		asked++;
	}
	return asked;
}

static size_t deaf_count(const int *ids, size_t count)
{
	size_t deaf = 0;
	uint64_t blocked;

	for (size_t i = 0; i < count; i++)
		deaf += ids[i] != os_thread_id() && !has_row(ids[i]) && os_thread_blocks(ids[i], &blocked);
	return deaf;
}

/* The threads there are, at most `most`; others count as deaf. */
static size_t threads_list(int *ids, size_t most, size_t *beyond)
{
	long count = os_threads(ids, most);

	*beyond = count > (long)most ? (size_t)count - most : 0;
	return count > 0 ? min_size((size_t)count, most) : 0;
}

size_t os_world_stop(struct os_stopped *threads, int *ids, size_t most, size_t *deaf)
{
	int *sent = ids + most;
	size_t sent_count = 0;
	size_t beyond;
	uint32_t asked = 0;
	size_t count = threads_list(ids, most, &beyond);

	*deaf = 0;
	if (count == 0 || (count == 1 && beyond == 0)) {
		/* Without /proc nobody knows whether there are others. */
		*deaf = count == 0;
		return 0;
	}
	if (!handler_install(ids, count)) {
		*deaf = count + beyond - 1;
		return 0;
	}
	world.threads = threads;
	world.most = most;
	atomic_store(&world.entered, 0);
	atomic_store(&world.answered, 0);
	atomic_fetch_add(&world.round, 1);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		uint32_t more = signals_send(ids, count, sent, &sent_count, most);
		asked += more;
		answers_wait(asked);
		/* A thread that blocks all signals for a moment, to make another or to end, is asked again. */
		if (more == 0 && (deaf_count(ids, count) == 0 || round > ROUNDS_MAX / 2))
			break;
		if (more == 0)
			os_pause();
		count = threads_list(ids, most, &beyond);
	}
	*deaf = deaf_count(ids, count) + beyond;
	return min_size(atomic_load_explicit(&world.answered, memory_order_acquire), most);
}

void os_world_go(void)
{
	if (atomic_load(&world.round) % 2 == 0)
		return;
	atomic_fetch_add(&world.round, 1);
	port_futex_wake(&world.round, UINT32_MAX >> 1);
	/* The rows are theirs until they have left. */
	while (atomic_load(&world.inside) != 0)
		os_pause();
}

void os_world_fork_child(void)
{
	atomic_store(&world.inside, 0);
	if (atomic_load(&world.round) % 2 != 0)
		atomic_fetch_add(&world.round, 1);
}

/* A mutex on one futex word (Drepper, "Futexes Are Tricky", mutex 3): see lock.h. */
#include "base/lock.h"

#include "base/check.h"
#include "base/port.h"

enum { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_CONTENDED = 2 };

/* Long enough for most of our critical sections (some hundred instructions), far below a sleep and a wake. */
#define SPIN_COUNT 60

/* The thread that forks, 0 if none. Written by that thread while it holds every lock. */
static _Atomic uintptr_t forking_thread;

static bool passes_through(void)
{
	uintptr_t thread = atomic_load_explicit(&forking_thread, memory_order_relaxed);

	return UNLIKELY(thread != 0) && thread == port_thread_self();
}

#ifdef QUARRY_DEBUG
/* Bit r set: the thread holds a lock of rank r. */
static _Thread_local uint32_t ranks_held __attribute__((tls_model("initial-exec")));

static void rank_enter(const struct lock *lock, bool may_wait)
{
	/* Only waiting can close a circle. */
	CHECK(may_wait ? (ranks_held >> lock->rank) == 0 : (ranks_held & (1u << lock->rank)) == 0);
	ranks_held |= 1u << lock->rank;
}

static void rank_leave(const struct lock *lock)
{
	CHECK((ranks_held & (1u << lock->rank)) != 0);
	ranks_held &= ~(1u << lock->rank);
}

bool lock_is_held(const struct lock *lock)
{
	return (ranks_held & (1u << lock->rank)) != 0;
}
#else
static void rank_enter(const struct lock *lock UNUSED, bool may_wait UNUSED) {}
static void rank_leave(const struct lock *lock UNUSED) {}
bool lock_is_held(const struct lock *lock UNUSED) { return true; }
#endif

static bool state_try(struct lock *lock)
{
	uint32_t expected = LOCK_FREE;

	return atomic_compare_exchange_strong_explicit(&lock->state, &expected, LOCK_HELD, memory_order_acquire,
	                                               memory_order_relaxed);
}

static COLD void lock_wait(struct lock *lock)
{
	for (int i = 0; i < SPIN_COUNT; i++) {
		cpu_relax();
		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE && state_try(lock))
			return;
	}
	while (atomic_exchange_explicit(&lock->state, LOCK_CONTENDED, memory_order_acquire) != LOCK_FREE)
		port_futex_wait(&lock->state, LOCK_CONTENDED);
}

void lock_take(struct lock *lock)
{
	if (LIKELY(state_try(lock))) {
		rank_enter(lock, true);
		return;
	}
	if (passes_through())
		return;
	lock_wait(lock);
	rank_enter(lock, true);
}

bool lock_try(struct lock *lock)
{
	if (state_try(lock)) {
		rank_enter(lock, false);
		return true;
	}
	return passes_through();
}

void lock_release(struct lock *lock)
{
	if (passes_through())
		return;
	rank_leave(lock);
	if (atomic_exchange_explicit(&lock->state, LOCK_FREE, memory_order_release) == LOCK_CONTENDED)
		port_futex_wake(&lock->state, 1);
}

void lock_reset(struct lock *lock)
{
	rank_leave(lock);
	atomic_store_explicit(&lock->state, LOCK_FREE, memory_order_relaxed);
}

void lock_fork_begin(void)
{
	atomic_store_explicit(&forking_thread, port_thread_self(), memory_order_relaxed);
}

void lock_fork_end(void)
{
	atomic_store_explicit(&forking_thread, 0, memory_order_relaxed);
}

/* The scavenger: see scavenger.h. Its state is sweep_sleeper: nobody, awake, asleep. */
#include "thread/scavenger.h"

#include <stdatomic.h>

#include "base/port.h"
#include "block/sweep.h"
#include "os/os.h"
#include "space/purge.h"
#include "thread/pool.h"
#include "thread/shared.h"

/* Looks to a decay_ms: two, as the ticks that age memory. */
#define LOOKS_PER_DECAY 2
#define LOOK_MS_MIN 10
/* Fewer heaps in use are no reason for a thread. */
#define HEAPS_MIN 2

static struct {
	_Atomic bool on;
	_Atomic bool stopping;
	_Atomic uint64_t look_ms;
} scavenger;

static bool stands_alone(void)
{
	struct pool_counts counts = pool_counts();

	return counts.made - counts.pooled - counts.shared < HEAPS_MIN;
}

static void set(uint32_t state)
{
	if (state == SLEEPER_NONE)
		purge_set_background(false);
	atomic_store_explicit(&sweep_sleeper, state, memory_order_release);
}

/* Nothing is left to give back. False if the thread is to end. */
static bool sleep_until_needed(void)
{
	if (stands_alone()) {
		set(SLEEPER_NONE);
		return false;
	}
	set(SLEEPER_ASLEEP);
	while (atomic_load_explicit(&sweep_sleeper, memory_order_acquire) == SLEEPER_ASLEEP)
		port_futex_wait(&sweep_sleeper, SLEEPER_ASLEEP);
	return true;
}

static void scavenger_run(void)
{
	purge_set_background(true);
	/* One look more than there seems to be a need for: what was touched between two looks is not missed. */
	for (int idle = 0;;) {
		os_futex_wait_ms(&sweep_sleeper, SLEEPER_AWAKE, atomic_load_explicit(&scavenger.look_ms, memory_order_relaxed));
		if (atomic_load_explicit(&scavenger.stopping, memory_order_relaxed)) {
			set(SLEEPER_NONE);
			return;
		}
		/* What others freed into slabs whose owners sleep in the pool, or share one heap. */
		shared_tidy();
		pool_tidy_waiting();
		idle = sweep_background() ? 0 : idle + 1;
		if (idle > 1) {
			if (!sleep_until_needed())
				return;
			idle = 0;
		}
	}
}

void scavenger_configure(bool on, uint64_t decay_ms)
{
	uint64_t look_ms = decay_ms / LOOKS_PER_DECAY;

	atomic_store_explicit(&scavenger.on, on && decay_ms > 0, memory_order_relaxed);
	atomic_store_explicit(&scavenger.look_ms, look_ms > LOOK_MS_MIN ? look_ms : LOOK_MS_MIN, memory_order_relaxed);
}

void scavenger_start_if_needed(void)
{
	uint32_t none = SLEEPER_NONE;

	if (!atomic_load_explicit(&scavenger.on, memory_order_relaxed) || stands_alone() ||
	    atomic_load_explicit(&scavenger.stopping, memory_order_relaxed))
		return;
	/* Who changes the word starts it; pthread_create may allocate, and come here again. */
	if (!atomic_compare_exchange_strong_explicit(&sweep_sleeper, &none, SLEEPER_AWAKE, memory_order_relaxed,
	                                             memory_order_relaxed))
		return;
	if (!os_thread_start(scavenger_run, "quarry")) {
		/* Refused: so it will be again. */
		atomic_store_explicit(&scavenger.on, false, memory_order_relaxed);
		set(SLEEPER_NONE);
	}
}

void scavenger_stop(void)
{
	atomic_store_explicit(&scavenger.stopping, true, memory_order_relaxed);
	uint32_t state = atomic_exchange_explicit(&sweep_sleeper, SLEEPER_AWAKE, memory_order_release);
	if (state == SLEEPER_NONE)
		set(SLEEPER_NONE);
	else
		port_futex_wake(&sweep_sleeper, 1);
}

void scavenger_fork_child(void)
{
	set(SLEEPER_NONE);
	atomic_store_explicit(&scavenger.stopping, false, memory_order_relaxed);
}

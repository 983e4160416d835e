/* The scavenger: see scavenger.h. Its state is sweep_sleeper: nobody, awake, called, asleep, to end. Who changes it, and
 * who looks again after that, is mirrored by model/scavenger.pml. */
#include "thread/scavenger.h"

#include <stdatomic.h>

#include "base/port.h"
#include "block/sweep.h"
#include "os/os.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "thread/pool.h"
#include "thread/shared.h"

/* Looks to a decay_ms: two, as the ticks that age memory. */
#define LOOKS_PER_DECAY 2
#define LOOK_MS_MIN 10
/* However slow the decay: what others leave to this thread, and memory that becomes short, waits no longer. */
#define LOOK_MS_MAX 1000
/* Fewer heaps in use are no reason for a thread. */
#define HEAPS_MIN 2

static struct {
	_Atomic bool on;
	_Atomic bool watches;                   /* how short memory is */
	_Atomic bool stopping;
	_Atomic uint64_t look_ms;
	struct os_filters filters;              /* as before the second thread; by who changes the word to AWAKE, and by the thread */
	bool inherited;                         /* these are, from the parent of a fork, and tell nothing */
} scavenger;

static const char nothing_to_expect = 1;
_Atomic(const char *) scavenger_single_threaded = &nothing_to_expect;

static bool stands_alone(void)
{
	return pool_counts().in_use < HEAPS_MIN;
}

/* From the start of its thread to the end: it does the background's work, and watches. */
static void serve(bool on)
{
	purge_set_background(on);
	if (!on)
		pressure_close();
	else if (atomic_load_explicit(&scavenger.watches, memory_order_relaxed))
		pressure_open(&pressure_places, os_now_ns());
}

static void set(uint32_t state)
{
	atomic_store_explicit(&sweep_sleeper, state, memory_order_release);
}

static bool change(uint32_t from, uint32_t to)
{
	/* One that fails, too: what it saw decides whether a scavenger is started. */
	return atomic_compare_exchange_strong_explicit(&sweep_sleeper, &from, to, memory_order_seq_cst, memory_order_seq_cst);
}

/* False if there is none, or it is about to end. */
static bool change_from_any(uint32_t to)
{
	uint32_t state = atomic_load_explicit(&sweep_sleeper, memory_order_seq_cst);

	while (state != SLEEPER_NONE && state != SLEEPER_STOPPING)
		if (atomic_compare_exchange_weak_explicit(&sweep_sleeper, &state, to, memory_order_seq_cst, memory_order_seq_cst))
			return true;
	return false;
}

/* The thread is to end, unless it is needed after all. */
static bool ends(void)
{
	/* Before the word: from then on another one may be started. */
	serve(false);
	/* A second heap that came into use in between saw a scavenger: one of the two sees the other. Should it be gone
	 * again, there was nobody whom it could have called. */
	if (change(SLEEPER_AWAKE, SLEEPER_NONE) && (stands_alone() || !change(SLEEPER_NONE, SLEEPER_CALLED)))
		return true;
	serve(true);
	return false;
}

/* Nothing is left to give back. False if the thread is to end. */
static bool sleep_until_needed(void)
{
	if (stands_alone() && ends())
		return false;
	if (!change(SLEEPER_AWAKE, SLEEPER_ASLEEP))
		return true;
	/* A slow path that passed by since the last look saw nobody asleep. It has no fence between its count and that look:
	 * on a weakly ordered machine the count may come here a moment later. */
	os_futex_wait_ms(&sweep_sleeper, SLEEPER_ASLEEP, LOOK_MS_MIN);
	if (sweep_is_needed() || stands_alone())
		change(SLEEPER_ASLEEP, SLEEPER_AWAKE);
	pressure_rest();
	while (atomic_load_explicit(&sweep_sleeper, memory_order_acquire) == SLEEPER_ASLEEP)
		port_futex_wait(&sweep_sleeper, SLEEPER_ASLEEP);
	pressure_look(os_now_ns());
	return true;
}

/* True if the process may end with this thread: main's has ended, and all that had heaps. */
static bool may_be_last(void)
{
	return atomic_load_explicit(&scavenger.stopping, memory_order_relaxed) && pool_counts().in_use == 0;
}

/* Only now, when calls of the same kind have just been made. */
static void close_inherited(void)
{
	if (!scavenger.inherited)
		return;
	os_filters_close(&scavenger.filters);
	scavenger.inherited = false;
}

static bool scavenger_run(void)
{
	close_inherited();
	serve(true);
	/* One look more than there seems to be a need for: what was touched between two looks is not missed. */
	for (int idle = 0;;) {
		os_futex_wait_ms(&sweep_sleeper, SLEEPER_AWAKE, atomic_load_explicit(&scavenger.look_ms, memory_order_relaxed));
		/* Before it looks around: a call that comes now ends the next wait. */
		change(SLEEPER_CALLED, SLEEPER_AWAKE);
		/* With the last heap's thread the process may be about to end; it must not wait for us. */
		if (atomic_load_explicit(&sweep_sleeper, memory_order_relaxed) == SLEEPER_STOPPING) {
			serve(false);
			set(SLEEPER_NONE);
			return may_be_last();
		}
		if (pool_counts().in_use == 0 && ends())
			return may_be_last();
		pressure_look(os_now_ns());
		/* What others freed into slabs whose owners sleep in the pool, or share one heap. */
		shared_tidy();
		pool_tidy_waiting();
		idle = sweep_background() ? 0 : idle + 1;
		if (idle > 1) {
			if (!sleep_until_needed())
				return may_be_last();
			idle = 0;
		}
	}
}

void scavenger_configure(bool on, uint64_t decay_ms, bool watches)
{
	uint64_t look_ms = decay_ms / LOOKS_PER_DECAY;

	look_ms = look_ms < LOOK_MS_MIN ? LOOK_MS_MIN : look_ms < LOOK_MS_MAX ? look_ms : LOOK_MS_MAX;
	atomic_store_explicit(&scavenger.on, on && decay_ms > 0, memory_order_relaxed);
	atomic_store_explicit(&scavenger.watches, watches, memory_order_relaxed);
	atomic_store_explicit(&scavenger.look_ms, look_ms, memory_order_relaxed);
	/* Who doesn't want files read wants none to be open. */
	if (on && decay_ms > 0 && watches && *os_single_threaded_flag() != 0)
		atomic_store_explicit(&scavenger_single_threaded, os_single_threaded_flag(), memory_order_relaxed);
}

void scavenger_expect(const void *caller)
{
	const char *flag = atomic_exchange_explicit(&scavenger_single_threaded, &nothing_to_expect, memory_order_relaxed);

	if (flag != &nothing_to_expect && os_is_loader(caller))
		os_filters_open(&scavenger.filters);
}

/* Of a sandbox that was set up meanwhile nobody knows what it allows. */
static bool may_start(void)
{
	if (scavenger.filters.status.number == 0 || scavenger.inherited)
		return true;
	switch (os_filters_look(&scavenger.filters)) {
	case OS_FILTERS_SAME:
		return true;
	case OS_FILTERS_UNKNOWN:
		return false;
	case OS_FILTERS_ADDED:
		atomic_store_explicit(&scavenger.on, false, memory_order_relaxed);
		return false;
	case OS_FILTERS_LOST:
		break;
	}
	scavenger.filters = (struct os_filters){ 0 };
	return true;
}

void scavenger_start_if_needed(void)
{
	if (!atomic_load_explicit(&scavenger.on, memory_order_relaxed) || stands_alone() ||
	    atomic_load_explicit(&scavenger.stopping, memory_order_relaxed))
		return;
	/* Who changes the word starts it; pthread_create may allocate, and come here again. */
	if (!change(SLEEPER_NONE, SLEEPER_AWAKE))
		return;
	/* Refused: the next heap's thread tries again. */
	if (!may_start() || !os_thread_start(scavenger_run, "quarry"))
		set(SLEEPER_NONE);
}

void scavenger_heap_given(void)
{
	/* In the middle of a look, too. */
	if (stands_alone() && change_from_any(SLEEPER_CALLED))
		port_futex_wake(&sweep_sleeper, 1);
}

void scavenger_stop(void)
{
	/* None is started from now on; one that runs sees the word, wherever it is. */
	atomic_store_explicit(&scavenger.stopping, true, memory_order_relaxed);
	if (change_from_any(SLEEPER_STOPPING))
		port_futex_wake(&sweep_sleeper, 1);
}

void scavenger_fork_child(void)
{
	purge_set_background(false);
	set(SLEEPER_NONE);
	scavenger.inherited = scavenger.filters.status.number != 0;
	atomic_store_explicit(&scavenger.stopping, false, memory_order_relaxed);
}

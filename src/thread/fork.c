/* fork: see fork.h. The child's only thread is a copy of the one that forked: its own heap is consistent. The shared
 * heap, the pooled ones, the spans and the metadata are consistent because prepare holds their locks. Claims and
 * notifications of other threads are void by the epoch; their heaps are pool.c's walk's. */
#include "thread/fork.h"

#include "block/secure.h"
#include "os/os.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/pool.h"
#include "thread/sample.h"
#include "thread/scavenger.h"
#include "thread/shared.h"

/* In the order of their ranks. */
static struct lock *const locks[] = { &pressure_lock, &shared_lock, &pool_lock, &space_lock };

static struct lock *lock_above;

/* A step takes a millisecond or two. */
#define PURGE_WAITS_MAX 1000

#define LOCK_COUNT (sizeof(locks) / sizeof(locks[0]))

void fork_takes(struct lock *lock)
{
	lock_above = lock;
}

void fork_prepare(void)
{
	for (size_t i = 0; i < LOCK_COUNT; i++)
		lock_take(locks[i]);
	/* Not for ever: a signal handler that forks may have interrupted the step itself. */
	purge_pause(true);
	for (int i = 0; purge_is_in_flight() && i < PURGE_WAITS_MAX; i++) {
		lock_release(&space_lock);
		os_pause();
		lock_take(&space_lock);
	}
	if (lock_above != NULL)
		lock_take(lock_above);
	secure_fork_prepare(os_is_single_threaded(life_is_alone()));
	lock_fork_begin();
}

void fork_parent(void)
{
	purge_pause(false);
	lock_fork_end();
	if (lock_above != NULL)
		lock_release(lock_above);
	for (size_t i = LOCK_COUNT; i > 0; i--)
		lock_release(locks[i - 1]);
}

void fork_child(void)
{
	lock_fork_end();
	if (lock_above != NULL)
		lock_reset(lock_above);
	for (size_t i = LOCK_COUNT; i > 0; i--)
		lock_reset(locks[i - 1]);
	uint32_t epoch = epoch_now() + 1;
	atomic_store_explicit(&ledger_epoch, epoch != 0 ? epoch : 1, memory_order_relaxed);
	secure_fork_child();
	pressure_fork_child();
	purge_fork_child();
	life_fork_child();
	scavenger_fork_child();
	pool_fork_child(life_heap_if_any());
	if (secure.on && life_heap_if_any() != NULL)
		chacha_turn(&life_heap_if_any()->secured.random, os_now_ns());
	sample_fork_child(life_heap_if_any());
}

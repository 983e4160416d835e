/* Mutual exclusion by one futex word, with ranks that debug builds check, and a way through for the thread that forks.
 *
 * A lock is statically initialised with LOCK_INIT(rank). A thread may only take locks of rising rank. The thread that
 * is forking holds all of them (thread/fork.c); what it allocates meanwhile (other libraries' fork handlers) passes
 * through, because nobody else can be inside. */
#ifndef QUARRY_BASE_LOCK_H
#define QUARRY_BASE_LOCK_H

#include <stdatomic.h>

#include "base/compiler.h"

/* In the order in which they may be taken. */
enum lock_rank {
	LOCK_RANK_INIT = 1,
	LOCK_RANK_FILES,
	LOCK_RANK_SHARED_HEAP,
	LOCK_RANK_HEAP_POOL,
	LOCK_RANK_SPACE,
	LOCK_RANK_GUARD,
	LOCK_RANK_REPORT,
};

struct lock {
	_Atomic uint32_t state;      /* 0 free, 1 held, 2 held and somebody may sleep */
	uint32_t rank;               /* immutable */
};

#define LOCK_INIT(lock_rank) { .state = 0, .rank = (lock_rank) }

void lock_take(struct lock *lock);
/* True if taken; never waits. */
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);
/* In the child of a fork: free, whoever held it and whoever slept. */
void lock_reset(struct lock *lock);

/* Between these two calls the calling thread, which holds every lock, passes through all of them. */
void lock_fork_begin(void);
void lock_fork_end(void);

/* Debug builds: whether the calling thread holds it. Others: true. */
bool lock_is_held(const struct lock *lock);

#endif

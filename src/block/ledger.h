/* The ledger: one byte per small block, outside the heap, the truth about every block. And the words that order who
 * may change it: claim and notification, each with the epoch that a fork bumps.
 *
 *   state        who may change it
 *   FREE         whoever holds the slab's claim, to CACHED
 *   CACHED       the thread whose magazine holds the block: to LIVE (malloc) or FREE (drop) by plain stores; to FREE by an
 *                exchange if the slab is another heap's (ledger_give_up)
 *   CACHED_ZERO  the same; the block is known to be zero
 *   LIVE         its holder: the owner thread by a plain store to CACHED, or to FREE past a full magazine; any other by
 *                compare-and-swap to FREE, or to CACHED under the shared heap's lock
 *   LEAVING      with a security level: whoever frees it, the owner too, after a compare-and-swap from LIVE, while he zeroes
 *                it: to CACHED or FREE. Where a fork has left him behind it stays so: half of it may be zero
 *   TAIL         nobody: the index is no block
 *
 * Memory orders: a store of FREE releases what the program wrote to the block, the scan that turns it to CACHED
 * acquires; LIVE and CACHED are relaxed, because only their one writer follows them with anything of ours, and the
 * program itself orders the hand-over of a block between threads. Mirrored by model/ledger.pml. */
#ifndef QUARRY_BLOCK_LEDGER_H
#define QUARRY_BLOCK_LEDGER_H

#include "base/compiler.h"
#include "space/space.h"

enum {
	LEDGER_FREE = 0,        /* what fresh memory holds */
	LEDGER_LIVE = 1,
	LEDGER_CACHED = 2,
	LEDGER_CACHED_ZERO = 3,
	LEDGER_TAIL = 4,
	LEDGER_LEAVING = 5,
};

/* Bumped in the child of a fork, so that claims and notifications of threads that no longer exist are void. Never 0. */
HIDDEN extern _Atomic uint32_t ledger_epoch;

static inline uint32_t epoch_now(void)
{
	return atomic_load_explicit(&ledger_epoch, memory_order_relaxed);
}

ALWAYS_INLINE uint8_t ledger_get(const ledger_byte *state)
{
	return atomic_load_explicit(state, memory_order_relaxed);
}

/* By the state's one writer. */
ALWAYS_INLINE void ledger_set(ledger_byte *state, uint8_t value)
{
	atomic_store_explicit(state, value, memory_order_relaxed);
}

/* By the state's one writer: what the program did to the block is visible to who takes it next. */
static inline void ledger_set_free(ledger_byte *state)
{
	atomic_store_explicit(state, LEDGER_FREE, memory_order_release);
}

/* CACHED to FREE of a block of another owner's slab, by the magazine's user, who announces the slab afterwards: ordered
 * before the look at its notification, as in ledger_end_life. */
static inline void ledger_give_up(ledger_byte *state)
{
	atomic_exchange_explicit(state, LEDGER_FREE, memory_order_seq_cst);
}

/* LIVE to `value`, by any thread; false if it was not LIVE. Sequentially consistent: the read of the notification
 * that follows must not pass it (the owner clears the notification, then counts). */
static inline bool ledger_end_life(ledger_byte *state, uint8_t value)
{
	uint8_t live = LEDGER_LIVE;

	return atomic_compare_exchange_strong_explicit(state, &live, value, memory_order_seq_cst, memory_order_relaxed);
}

/* How many of the `count` bytes from index `first` on equal FREE. Acquires. */
size_t ledger_count_free(const ledger_byte *ledger, size_t first, size_t count);
/* The same for LIVE and for both CACHED states. Relaxed: a snapshot. */
size_t ledger_count_live(const ledger_byte *ledger, size_t first, size_t count);
size_t ledger_count_cached(const ledger_byte *ledger, size_t first, size_t count);

/* A try-lock in a word that holds the epoch: what a thread that a fork has left behind had taken is free. */
static inline bool epoch_try(_Atomic uint32_t *word)
{
	uint32_t epoch = epoch_now();
	uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);

	return seen != epoch &&
	       atomic_compare_exchange_strong_explicit(word, &seen, epoch, memory_order_acquire, memory_order_relaxed);
}

static inline void epoch_release(_Atomic uint32_t *word)
{
	atomic_store_explicit(word, 0, memory_order_release);
}

/* The claim: a try-lock on a slab's FREE blocks. */
static inline bool claim_try(struct span *slab)
{
	return epoch_try(&slab->claim);
}

static inline void claim_release(struct span *slab)
{
	epoch_release(&slab->claim);
}

/* The notification token. Set: true if the caller set it and must link the slab on a stack. */
static inline bool notification_set(struct span *slab)
{
	uint32_t epoch = epoch_now();

	/* The load first: most frees of a slab meet a token that is set. Sequentially consistent: see ledger_end_life. */
	return atomic_load_explicit(&slab->notified, memory_order_seq_cst) != epoch &&
	       atomic_exchange_explicit(&slab->notified, epoch, memory_order_seq_cst) != epoch;
}

/* After the owner's change, as the pusher's second look. */
static inline bool notification_is_set(const struct span *slab)
{
	return atomic_load_explicit(&slab->notified, memory_order_seq_cst) == epoch_now();
}

/* By who has taken the slab off a stack and read what is linked behind it (release), before it counts. The fence, because
 * no store keeps the relaxed loads of a count behind it: on ARM not even an exchange that is sequentially consistent.
 * ThreadSanitizer knows no fences. */
static inline void notification_clear(struct span *slab)
{
#ifdef __SANITIZE_THREAD__
	atomic_exchange_explicit(&slab->notified, 0, memory_order_seq_cst);
#else
	atomic_store_explicit(&slab->notified, 0, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

#endif

/* Heaps: what a thread allocates from. A magazine of free blocks per size class, the slabs that are its own, and the
 * stack on which others announce what they freed into them.
 *
 *   magazine of a class:   entries:  | {NULL} | {block, state} | {block, state} | ...          |
 *                                      ^ sentinel                ^ top: next to hand out         ^ limit: full
 *
 * An empty magazine's top is the sentinel, whose block is NULL: malloc's only test. A thread without a heap of its own
 * uses heap_empty, whose magazines are all empty and whose distance, 0, owns nothing: its only path is the slow one,
 * and nothing asks "initialised?". A thread finds its heap by thread_heap_distance, the distance from heap_empty,
 * which is 0 in fresh TLS.
 *
 * A slab's owner changes only while its heap is pooled and nobody runs it, by the heap's own user (export.h), or
 * under shared_lock, from the shared heap, which takes no block back without a compare-and-swap: were it to change under
 * a running owner, two threads that free one block at once by mistake could both pass the owner test (model/README.md).
 *
 * A heap is used by one thread (or under one lock) at a time; only `notified`, `pending` and `state` are shared.
 * Heaps are type-stable: pooled and taken again, never unmapped. */
#ifndef QUARRY_THREAD_HEAP_H
#define QUARRY_THREAD_HEAP_H

#include "base/chacha.h"
#include "block/secure.h"
#include "block/slab.h"

struct magazine {
	struct entry *top;
	struct entry *limit;            /* the last place that may be filled */
};

_Static_assert(sizeof(struct magazine) == (size_t)1 << MAGAZINE_LOG2, "size_class_magazine holds offsets");

/* What the slow path knows of a class. */
struct bin {
	struct span *partial;           /* own slabs with FREE blocks that are known of, by list */
	struct entry *entries;          /* the magazine's memory; NULL until first used */
	uint16_t capacity;              /* entries there is memory for, without the sentinel */
	uint16_t allowed;               /* entries that may be used: follows demand */
	/* Whether this thread's blocks are freed by others: see export.h. */
	void *samples[2];               /* blocks of the last refill, in its first place and its middle one */
	uint16_t filled;                /* entries of the last refill */
	uint16_t gained;                /* blocks that others have freed, since a free of this thread's own was seen */
	uint8_t untouched;              /* refills since then */
	uint8_t exports;                /* refills that are still served by the shared heap */
	uint8_t looks;                  /* slow frees that may still pass a full magazine by before it is looked at */
	bool dropped;                   /* the last slow path was a drop, not a refill */
	uint16_t passes;                /* with a security level: frees that may still pass by without a slow path */
};

/* Freed blocks that wait, with security level 2: see quarantine.h. */
struct quarantine {
	struct entry *entries;          /* in no order; NULL until first used */
	size_t count;
	size_t bytes;
};

/* What a heap has besides with a security level. */
struct secured {
	struct chacha random;
	struct quarantine quarantine;
	uintptr_t passed[CLASS_COUNT];  /* block that went past a full magazine last */
};

/* What a heap has besides while allocations are counted: see sample.h. With a security level the stock alone. */
struct counted {
	struct magazine stock[CLASS_COUNT];
	struct entry *low[CLASS_COUNT];         /* with a security level a stock is refilled when its top is not above */
	struct entry *fronts[CLASS_COUNT];      /* memory of malloc's magazines; NULL until first used */
	bool due[CLASS_COUNT + 1];              /* the class's next allocation is a sample; the last: the next large one */
	uint64_t left;                          /* allocations before the next sample, without those in fronts */
	uint64_t random;
};

enum heap_state {
	HEAP_IN_USE = 0,
	HEAP_SHARED,                    /* under shared_lock */
	HEAP_POOLED,                    /* under pool_lock, its thread has ended */
	HEAP_DEAD,                      /* its thread was lost in a fork; slabs not yet counted (pool.c) */
};

struct heap {
	struct magazine magazines[CLASS_COUNT]; /* malloc takes from these */
	struct bin bins[CLASS_COUNT];
	uintptr_t distance;             /* from heap_empty; immutable */
	struct magazine *stock;         /* frees go to these, and refills: `magazines`, or counted.stock; immutable */
	_Atomic(struct span *) notified ALIGNED(64);    /* stack of slabs, linked by next_notified */
	_Atomic uint32_t pending;       /* slabs pushed while nobody's thread used the heap */
	_Atomic uint32_t state;         /* enum heap_state */
	bool released_announced;        /* a slab that may still be on its stack: it must be drained */
	size_t taken_bytes;             /* from slabs to magazines and back, not yet told to the sweep */
	size_t freed_bytes;
	bool sat_on_much;               /* others had freed much when it looked: see export.h */
	bool exports;                   /* counted among those that have a class to export */
	struct heap *next_pooled;       /* under pool_lock */
	struct heap *next_made;         /* under pool_lock, set once */
	/* Last: their memory is there only while allocations are counted, or with a security level. */
	struct secured secured;
	struct counted counted;
};

/* In read-only memory once relocated, but not const: compilers take what lies at an address computed from a constant
 * object for constant too. */
HIDDEN extern struct heap heap_empty;

/* Initial-exec: one load of the offset, one of the value; 8 of the less than 16 bytes that leave us dlopen-able. */
HIDDEN extern _Thread_local uintptr_t thread_heap_distance __attribute__((tls_model("initial-exec")));

ALWAYS_INLINE struct heap *heap_at(uintptr_t distance)
{
	return (struct heap *)((uintptr_t)&heap_empty + distance);
}

/* The magazine of a class in the calling thread's heap. */
ALWAYS_INLINE struct magazine *thread_magazine(uintptr_t magazine_offset)
{
	return (struct magazine *)((uintptr_t)&heap_empty + thread_heap_distance + magazine_offset);
}

/* How much memory a heap takes. */
size_t heap_bytes(void);

/* Prepares a heap's memory, which is zero. */
void heap_init(struct heap *heap);

/* Takes a block of the class from a magazine that may be empty: refills it from slabs first. The block's state is
 * still CACHED or CACHED_ZERO; the caller stores LIVE. {NULL} if memory is short. By the heap's user. */
struct entry heap_take(struct heap *heap, unsigned class_index);

/* Takes the entry at `picked` and puts the one at `top` in its place. Word by word: the compiler would read both words at once,
 * and wait for the two stores that wrote them. */
ALWAYS_INLINE struct entry entry_swap(struct entry *picked, const struct entry *top)
{
	struct entry entry = { picked->block, picked->state };
	void *block = top->block;
	ledger_byte *state = top->state;

	__asm__("" : "+r"(entry.block), "+r"(entry.state));
	__asm__("" : "+r"(block), "+r"(state));
	picked->block = block;
	picked->state = state;
	return entry;
}

/* Blocks that are soon among those to choose from are fetched while others are handed out: their order is random, and no
 * processor foresees it. */
#define HEAP_AHEAD 8

/* Takes any one of the newest `choice` entries, of which there is one, by a random byte: of a number that is no power of two
 * some are likelier, by an eighth at most. */
ALWAYS_INLINE struct entry heap_pick(struct heap *heap, unsigned class_index, size_t choice, uint8_t random)
{
	struct magazine *stock = &heap->counted.stock[class_index];
	struct entry *top = stock->top;
	size_t count = (size_t)(top - heap->bins[class_index].entries);

	__builtin_prefetch(top[-(ptrdiff_t)min_size(count, choice + HEAP_AHEAD)].block, 1);
	stock->top = top - 1;
	return entry_swap(top - (random * min_size(count, choice) >> 8), top);
}

/* The same for a quick class (block/secure.h) after heap_has_choice: there are as many, and those ahead. */
ALWAYS_INLINE struct entry heap_pick_quick(struct magazine *stock, size_t choice, uint8_t random)
{
	struct entry *top = stock->top;

	__builtin_prefetch((top - HEAP_AHEAD + 1 - choice)->block, 1);
	stock->top = top - 1;
	return entry_swap(top - (random * choice >> 8), top);
}

/* Whether heap_pick may be called, and it is not better to refill first. Without memory both are the sentinel that all share;
 * in heap_empty, NULL. */
ALWAYS_INLINE bool heap_has_choice(const struct heap *heap, unsigned class_index)
{
	return LIKELY((uintptr_t)heap->counted.stock[class_index].top > (uintptr_t)heap->counted.low[class_index]) &&
	       LIKELY(heap->secured.random.left != 0);
}

/* heap_take with a security level. */
struct entry heap_take_any(struct heap *heap, unsigned class_index);

/* A block whose state is CACHED, of any owner's slab: back to its slab's magazine, or given up and announced. By the
 * heap's user. */
void heap_give(struct heap *heap, struct entry entry);

/* Puts a free block, its state CACHED, into its magazine, or straight back into its slab if the magazine is full. By
 * the heap's user, the slab's owner. */
void heap_put(struct heap *heap, struct span *slab, struct entry entry);

/* Returns all but `keep` entries of a magazine to their slabs, the oldest first; with 0 those in front of it, too. By the
 * heap's user. */
void heap_drop(struct heap *heap, unsigned class_index, size_t keep);

/* Its thread ends: empties all magazines, forgets what was learnt of them. */
void heap_retire(struct heap *heap);

/* Empties all magazines. */
void heap_drop_all(struct heap *heap);

/* Looks at all slabs that others announced: counts them, lists them, releases the empty ones. By the heap's user. */
void heap_drain(struct heap *heap);

/* After slabs were settled in it: one that was released may still be on its stack. By the heap's user. */
static inline void heap_drain_if_released(struct heap *heap)
{
	if (UNLIKELY(heap->released_announced))
		heap_drain(heap);
}

/* After a block of `slab` became FREE by another thread than the owner: announces the slab, once. */
void heap_notify(struct span *slab);

/* Takes over slabs that announced themselves without an owner. Any thread, no lock held. */
void heap_forward_orphans(void);

/* Fills up to `wanted` places of the magazine of `heap` from the listed slabs of `owner`, which may be another heap.
 * Returns how many. By the users of both. */
size_t heap_fill(struct heap *heap, struct heap *owner, unsigned class_index, size_t wanted);

/* The same from a new slab. */
size_t heap_fill_new(struct heap *heap, struct heap *owner, unsigned class_index, size_t wanted);

/* Under the claim, by the users of both: makes `to` the slab's owner. heap_handed_over comes after the last of them. */
void heap_hand_over(struct heap *from, struct heap *to, struct span *slab);

/* Looks at what was announced to the wrong one of the two meanwhile. By the users of both. */
void heap_handed_over(struct heap *from, struct heap *to);

/* Hands one slab of the class that has known free blocks over; false if there is none. By the users of both. */
bool heap_rob(struct heap *from, struct heap *to, unsigned class_index);

/* Under the claim, by the owner's user: puts a slab that was just counted where it belongs, releasing it if it is
 * empty, and ends the claim. */
void heap_settle(struct heap *heap, struct span *slab);

/* Takes a slab out of its heap's list. By the heap's user. */
void heap_unlist(struct heap *heap, struct span *slab);

/* Debug builds: magazines within their bounds, lists closed, all slabs its own. By the heap's user. */
bool heap_is_valid(struct heap *heap);

#endif

/* What memory looks like: regions cut into units, spans of units, and one descriptor for every unit.
 *
 *   reservation:  | guard | unit bits | page map ..... | guard | metadata arena ..... | guard | region ............... |
 *   region:       | unit 0 | unit 1 | ...  committed (readable, writable) ... | ... reserved (PROT_NONE) ............. |
 *
 * Free units of the committed part may have been uncommitted: they are PROT_NONE as the reserved part is, and nobody gets
 * one before it is committed again.
 *
 * The page map has one entry per unit: the distance in bytes from span_nobody to the unit's descriptor. 0, what fresh
 * memory holds, is span_nobody itself, whose multiplier 0 fails every block-start test: any address in the committed
 * part of a region may be looked up at any time, without a lock.
 *
 * Everything here but the look-up needs space_lock. Used by src/block/ and above; the fields of struct span below
 * "block" are src/block/'s. */
#ifndef QUARRY_SPACE_SPACE_H
#define QUARRY_SPACE_SPACE_H

#include <stdatomic.h>

#include "base/bits.h"
#include "base/compiler.h"
#include "base/lock.h"

#define UNIT_LOG2 16
#define UNIT_BYTES ((size_t)1 << UNIT_LOG2)
#define UNIT_COUNT(bytes) (((bytes) + UNIT_BYTES - 1) >> UNIT_LOG2)

enum span_kind {
	SPAN_NOBODY = 0,        /* span_nobody: a unit of no span, the inside of a large or free span */
	SPAN_FREE,              /* in the trees of free spans */
	SPAN_SLAB,
	SPAN_LARGE,
	SPAN_RETIRED,           /* a slab's header and ledger, or a large block's header, waiting for the next */
};

/* Sides of a slab or large block on which a guard page stands. */
enum { GUARD_BEFORE = 1, GUARD_BEHIND = 2 };

/* Whoever has this owner tests false against every thread: no heap lies one byte from the empty heap. */
#define OWNER_NONE ((uintptr_t)1)

typedef _Atomic uint8_t ledger_byte;

/* Descriptor of a span. Type-stable: once made it stays a descriptor for ever, so a look-up that races with a release
 * reads stale but harmless words. The first line is all that a free by the owner uses. */
struct span {
	/* block: how an address becomes a block. Written before the page map shows the span; owner also under the claim. */
	uintptr_t base;                 /* address of index 0; at most one block before the span's first byte */
	_Atomic uint64_t multiplier;    /* ceil(2^64 / block size); 1: one block, at base; 0: no block starts here */
	ledger_byte *ledger;            /* state of each index */
	_Atomic uintptr_t owner;        /* distance of the heap whose magazines take its frees, or OWNER_NONE */
	union {
		uintptr_t magazine;     /* slab: of its class in the heap at distance 0 */
		size_t asked_bytes;     /* large, with a security level: what was asked for */
	};
	uint32_t block_bytes;           /* slab: size of a block */
	uint16_t first_index;           /* slab: first index that is a block; those below are TAIL */
	uint16_t end_index;             /* slab: first index after the last block; TAIL from here */
	union {
		struct {
			uint8_t kind;           /* enum span_kind */
			bool secured;           /* slab, large: made with a security level */
		};
		uint16_t kind_secured;          /* both: the kind alone where there is no level */
	};
	uint8_t class_index;            /* slab */
	bool born_zero;                 /* its memory was not there when it was made; of a large block most */
	/* slab: owner's, or whoever has the owner's lock. */
	uint16_t free_count;            /* lower bound of FREE bytes */
	uint16_t cursor;                /* no known FREE byte below this index */
	uint16_t fresh_index;           /* blocks from here on were never handed out since the slab was made */
	bool listed;                    /* in its heap's list of partial slabs */
	uint8_t returns_granted;        /* frees that may come straight back while the magazine is full (slab.h) */
	uint8_t returns_left;           /* those of them that have not come */
	bool swept;                     /* some of its memory was given back since it was made */
	/* space: where it lies. Written under space_lock. */
	uintptr_t start;
	size_t units;
	/* block: the protocol (block/ledger.h). */
	_Atomic uint32_t claim;         /* the epoch in which it is held, 0 if free */
	_Atomic uint32_t notified;      /* the epoch in which it was linked on a stack, 0 if it is not */
	_Atomic(struct span *) next_notified;
	ledger_byte large_state;        /* large: the ledger, one byte */
	uint8_t guards;                 /* sides that have a guard page (GUARD_BEFORE, GUARD_BEHIND), with a security level */
	union {
		struct {
			struct span *next;  /* slab: partial list; retired: list of its kind */
			struct span *previous;
		} list;
		struct {
			struct span *left;  /* free: tree by (units, start) */
			struct span *right;
		} tree;
		struct {
			size_t units;       /* large: so many of its first units came by mremap, and are */
			size_t mappings;    /* so many mappings of their own */
		} moved;
	};
	union {
		size_t large_bytes;     /* large: usable bytes */
		size_t dirty_units;     /* free */
		uint64_t away;          /* slab: a bit per granule whose memory is not there (slab.h) */
	};
} ALIGNED(64);

_Static_assert(offsetof(struct span, returns_left) < CACHE_LINE_BYTES, "what a free by the owner uses stays in one line");
_Static_assert(sizeof(struct span) == 128, "two lines");

/* The descriptor of every unit that has no other. Never written. */
HIDDEN extern struct span span_nobody;

/* A reserved piece of address space. All fields but committed_bytes are immutable once it is in the list. */
struct region {
	uintptr_t base;                  /* multiple of UNIT_BYTES */
	_Atomic size_t committed_bytes;  /* from base on; written under space_lock, only grows: `uncommitted` says what of it
	                                    is inaccessible again */
	_Atomic uintptr_t *page_map;
	size_t reserved_bytes;
	uint64_t *dirty;                 /* a bit per unit: free, and its memory may not be zero */
	uint64_t *aged;                  /* a bit per unit: was dirty at the last tick already */
	uint64_t *uncommitted;           /* a bit per unit: free, and inaccessible until it is committed again */
	size_t page_map_bytes;           /* committed part */
	uintptr_t reservation;           /* whole, with page map and metadata */
	size_t reservation_bytes;
};

#define REGION_MAX 1024

/* The first region stands alone because every free compares with it; the others are looked up on the slow path. */
HIDDEN extern struct region region_first;

HIDDEN extern struct lock space_lock;

/* How many regions there are; they are never removed. */
size_t region_count(void);
struct region *region_at(size_t index);
/* The region whose address space holds the address, NULL if none; no lock needed. */
struct region *region_of_any(const void *address);
static inline struct region *region_of(const void *address)
{
	if (LIKELY((uintptr_t)address - region_first.base < region_first.reserved_bytes))
		return &region_first;
	return region_of_any(address);
}

/* The descriptor of the unit that `address`, in the committed part of `region`, lies in. No lock needed. */
ALWAYS_INLINE struct span *region_span(const struct region *region, uintptr_t address)
{
	size_t unit = (address - region->base) >> UNIT_LOG2;

	return (struct span *)((uintptr_t)&span_nobody +
	                       atomic_load_explicit(&region->page_map[unit], memory_order_relaxed));
}

/* The same for any address: span_nobody if it is in no region's committed part. No lock needed. */
struct span *span_of_any(const void *address);
static inline struct span *span_of(const void *address)
{
	if (LIKELY((uintptr_t)address - region_first.base < LOAD_ONCE(region_first.committed_bytes)))
		return region_span(&region_first, (uintptr_t)address);
	return span_of_any(address);
}

/* Makes `span` the descriptor of `units` units from `start` on. Release: pairs with the program's own hand-over of
 * the blocks' addresses. */
static inline void page_map_set_in(const struct region *region, uintptr_t start, size_t units, struct span *span)
{
	uintptr_t distance = (uintptr_t)span - (uintptr_t)&span_nobody;
	size_t first = (start - region->base) >> UNIT_LOG2;

	for (size_t i = first; i < first + units; i++)
		atomic_store_explicit(&region->page_map[i], distance, memory_order_release);
}
static inline void page_map_set(uintptr_t start, size_t units, struct span *span)
{
	page_map_set_in(region_of((void *)start), start, units, span);
}

#endif

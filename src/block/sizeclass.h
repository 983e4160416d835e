/* Size classes: which block serves a request, and the arithmetic from an offset to a block's index. Pure, constant
 * tables (sizeclass.def), usable before anything is initialised. */
#ifndef QUARRY_BLOCK_SIZECLASS_H
#define QUARRY_BLOCK_SIZECLASS_H

#include "base/bits.h"
#include "base/compiler.h"

/* Requests up to here come from slabs. */
#define SMALL_BYTES_MAX ((size_t)32832)
#define GRANULE_LOG2 4
#define GRANULE_BYTES ((size_t)1 << GRANULE_LOG2)

/* Alignment requests above a line and up to here come from the aligned classes. */
#define ALIGNED_BYTES_MIN ((size_t)128)
#define ALIGNED_BYTES_MAX ((size_t)16384)

enum {
#define SIZE_CLASS(previous, size, units) CLASS_OF_##size,
#define ALIGNED_CLASS(size, units) CLASS_ALIGNED_##size,
#include "block/sizeclass.def"
#undef SIZE_CLASS
#undef ALIGNED_CLASS
	CLASS_COUNT,
	CLASS_FIRST_ALIGNED = CLASS_ALIGNED_128,
};

/* A heap's magazines are an array indexed by class; the table holds the offset, so that malloc need not multiply. */
#define MAGAZINE_LOG2 4

struct size_class {
	uint64_t multiplier;            /* ceil(2^64 / size) */
	uint32_t size;                  /* bytes of a block */
	uint8_t units;                  /* of a slab */
	uint8_t colour_lines;           /* slabs start 0 to this many lines into their span */
	uint16_t ledger_bytes;          /* of a slab, a multiple of 8 */
	uint16_t magazine_max;          /* entries */
	uint8_t choice;                 /* with random places one of so many at most: secure_choice (secure.h) */
};

HIDDEN extern const struct size_class size_classes[CLASS_COUNT];

/* For each granule of a request, the offset of its class's magazine in a heap. */
HIDDEN extern const uint16_t size_class_magazine[SMALL_BYTES_MAX / GRANULE_BYTES];

/* 1 <= size <= SMALL_BYTES_MAX. */
static inline unsigned size_class_of(size_t size)
{
	return size_class_magazine[(size - 1) >> GRANULE_LOG2] >> MAGAZINE_LOG2;
}

/* The class that serves `size` bytes aligned to `alignment`, a power of two; CLASS_COUNT if it takes a large block.
 * size may be 0. */
unsigned size_class_aligned(size_t size, size_t alignment);

/* Index of the block that `offset` bytes from index 0 lie in, and whether that is its first byte: with M the
 * multiplier and d the size, the high half of offset * M is offset / d, and the low half is < M exactly at multiples
 * of d (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019; exact while offset * d < 2^64). */
ALWAYS_INLINE size_t block_index(uint64_t offset, uint64_t multiplier, bool *is_start)
{
	unsigned __int128 product = (unsigned __int128)offset * multiplier;

	*is_start = (uint64_t)product < multiplier;
	return (size_t)(product >> 64);
}

#endif

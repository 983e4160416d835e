/* The tables of size classes: see sizeclass.h. */
#include "block/sizeclass.h"

#include "space/space.h"

#define MULTIPLIER(size) (UINT64_MAX / (size) + 1)

/* Indices of a slab: index 0 starts less than a block before its first byte, and what is left at its end has one. */
#define LEDGER_BYTES(size, units) (((units) * UNIT_BYTES / (size) + 3 + 7) / 8 * 8)

/* How many lines further than the first a slab may start. The 64 sets of a first-level cache are covered by the blocks
 * of a slab where these are many (sizes above 1 KiB are odd multiples of a line), and by the starts of the slabs where
 * they are few. What the colour covers is TAIL in the ledger. Blocks of 512 bytes have none: without, none of them lies
 * on two pages, and more pages become free; a touch costs 0.95 to 1.5 ns then, 0.8 to 1 with it. (Of 1 KiB, which would
 * all start on 4 sets, it is 5 ns and 1.3.) */
#define COLOUR_LINES(size) ((size) == 512 ? 0 : (size) <= 1024 ? 15 : (size) <= 4160 ? 31 : 63)

/* Entries a magazine may hold: 64 KiB of blocks, at least 7 up to 16 KiB and 3 above, at most 127: with the sentinel a
 * power of two. */
#define MAGAZINE_BYTES (64 * KIB)
#define MAGAZINE_BLOCKS(size) (MAGAZINE_BYTES / (size))
#define MAGAZINE_MAX(size) \
	(MAGAZINE_BLOCKS(size) >= 128  ? 127 \
	 : MAGAZINE_BLOCKS(size) >= 64 ? 63 \
	 : MAGAZINE_BLOCKS(size) >= 32 ? 31 \
	 : MAGAZINE_BLOCKS(size) >= 16 ? 15 \
	 : MAGAZINE_BLOCKS(size) >= 4  ? 7 \
	                               : 3)

/* With random places one of the entries at the top is next, of 4 KiB of blocks, but of 8 at least and 32 at most: were it any of
 * a magazine, a loop that needs two blocks would go through the whole of it. */
#define CHOICE_BYTES (4 * KIB)
#define CHOICE(size) ((uint8_t)(CHOICE_BYTES / (size) >= 32 ? 32 : CHOICE_BYTES / (size) <= 8 ? 8 : CHOICE_BYTES / (size)))

const struct size_class size_classes[CLASS_COUNT] = {
#define SIZE_CLASS(previous, bytes, slab_units) \
	[CLASS_OF_##bytes] = { \
		.multiplier = MULTIPLIER(bytes), \
		.size = (bytes), \
		.units = (slab_units), \
		.colour_lines = COLOUR_LINES(bytes), \
		.ledger_bytes = LEDGER_BYTES(bytes, slab_units), \
		.magazine_max = MAGAZINE_MAX(bytes), \
		.choice = CHOICE(bytes), \
	},
#define ALIGNED_CLASS(bytes, slab_units) \
	[CLASS_ALIGNED_##bytes] = { \
		.multiplier = MULTIPLIER(bytes), \
		.size = (bytes), \
		.units = (slab_units), \
		.colour_lines = 0, \
		.ledger_bytes = LEDGER_BYTES(bytes, slab_units), \
		.magazine_max = MAGAZINE_MAX(bytes), \
		.choice = CHOICE(bytes), \
	},
#include "block/sizeclass.def"
#undef SIZE_CLASS
#undef ALIGNED_CLASS
};

const uint16_t size_class_magazine[SMALL_BYTES_MAX / GRANULE_BYTES] = {
#define SIZE_CLASS(previous, size, units) \
	[(previous) / GRANULE_BYTES ...(size) / GRANULE_BYTES - 1] = CLASS_OF_##size << MAGAZINE_LOG2,
#define ALIGNED_CLASS(size, units)
#include "block/sizeclass.def"
#undef SIZE_CLASS
#undef ALIGNED_CLASS
};

_Static_assert(CLASS_OF_32832 + 1 == CLASS_FIRST_ALIGNED, "the last ordinary class is SMALL_BYTES_MAX");
#define SIZE_CLASS(previous, size, units) \
	_Static_assert((size) > (previous) && (size) % GRANULE_BYTES == 0, "classes rise by whole granules"); \
	_Static_assert((size) <= 1024 || (size) / CACHE_LINE_BYTES % 2 == 1, "odd multiple of a line");
#define ALIGNED_CLASS(size, units)
#include "block/sizeclass.def"
#undef SIZE_CLASS
#undef ALIGNED_CLASS

unsigned size_class_aligned(size_t size, size_t alignment)
{
	if (alignment <= CACHE_LINE_BYTES) {
		/* Slabs start on a line, so a class whose size is a multiple of the alignment keeps it. */
		size_t rounded = ROUND_UP(max_size(size, 1), alignment);
		if (size > SMALL_BYTES_MAX || rounded > SMALL_BYTES_MAX)
			return CLASS_COUNT;
		unsigned class_index = size_class_of(rounded);
		while (class_index < CLASS_FIRST_ALIGNED && size_classes[class_index].size % alignment != 0)
			class_index++;
		return class_index < CLASS_FIRST_ALIGNED ? class_index : CLASS_COUNT;
	}
	if (size > ALIGNED_BYTES_MAX || alignment > ALIGNED_BYTES_MAX)
		return CLASS_COUNT;
	size_t bytes = power_of_two_ceil(max_size(size, alignment));
	return CLASS_FIRST_ALIGNED + log2_floor(bytes) - log2_floor(ALIGNED_BYTES_MIN);
}

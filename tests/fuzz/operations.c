/* Fuzzing: the bytes are calls of all entry points, in a row, against a shadow of what was handed out. Four bytes a call:
 * which, of which block, and a number that sizes and alignments are made of. */
#include "fuzz/fuzz.h"

#include <errno.h>

#include "base/bits.h"
#include "block/sizeclass.h"
#include "quarry/quarry.h"

#define BLOCKS 64
/* No block is filled and checked further than this from each of its ends. */
#define EDGE_BYTES ((size_t)512)
#define LARGE_MOST (64 * MIB)

struct shadow {
	unsigned char *block;
	size_t size;
	size_t alignment;               /* 0: of malloc */
	unsigned char key;
};

static struct shadow shadows[BLOCKS];

static void edges(struct shadow *shadow, size_t bytes, bool check)
{
	for (size_t at = 0; at < bytes; at++) {
		if (at == EDGE_BYTES && bytes > 2 * EDGE_BYTES)
			at = bytes - EDGE_BYTES;
		unsigned char expected = (unsigned char)(shadow->key + at * 13);
		if (!check)
			shadow->block[at] = expected;
		else
			MUST(shadow->block[at] == expected);
	}
}

static size_t size_of(unsigned number)
{
	unsigned low = number & 0xfff;

	switch (number >> 12) {
	case 0: case 1: case 2: case 3:
		return low;
	case 4: case 5:
		return size_classes[low % CLASS_COUNT].size - 1 + low / CLASS_COUNT % 3;
	case 6: case 7: case 8:
		return (size_t)low * 16;
	case 9: case 10:
		return (size_t)low * 257;
	case 11:
		return (size_t)low * 4096 + (number & 3) - 1;
	case 12:
		return ((size_t)1 << low % 26) - 1 + (low >> 6) % 3;
	case 13:
		return ((size_t)1 << low % 64) - 1 + (low >> 6) % 3;
	case 14:
		return SIZE_MAX - low;
	default:
		return (size_t)PTRDIFF_MAX - 2048 + low;
	}
}

static size_t alignment_of(unsigned number)
{
	return (size_t)1 << number % 64;
}

static void take(struct shadow *shadow, void *block, size_t size, size_t alignment, bool zeroed, unsigned char key)
{
	if (block == NULL) {
		MUST(errno == ENOMEM || errno == EINVAL);
		return;
	}
	*shadow = (struct shadow){ .block = block, .size = size, .alignment = alignment, .key = key };
	MUST(quarry_usable_size(block) >= size);
	MUST(IS_ALIGNED((uintptr_t)block, max_size(alignment, size >= 16 ? 16 : 8)));
	if (zeroed)
		for (size_t at = 0; at < min_size(size, 2 * EDGE_BYTES); at++)
			MUST(shadow->block[at] == 0 && shadow->block[size - 1 - at] == 0);
	edges(shadow, size, false);
}

static void give(struct shadow *shadow, unsigned how)
{
	if (shadow->block != NULL)
		edges(shadow, shadow->size, true);
	if (how % 4 == 0 && shadow->alignment == 0)
		quarry_free_sized(shadow->block, shadow->size);
	else if (how % 4 == 1 && shadow->alignment != 0)
		quarry_free_aligned_sized(shadow->block, shadow->alignment, shadow->size);
	else
		quarry_free(shadow->block);
	*shadow = (struct shadow){ 0 };
}

static void resize(struct shadow *shadow, size_t size, bool as_array)
{
	errno = 0;
	unsigned char *block = as_array ? quarry_reallocarray(shadow->block, size, 1) : quarry_realloc(shadow->block, size);

	if (block == NULL && (size != 0 || shadow->block == NULL)) {
		MUST(errno == ENOMEM);
		return;
	}
	/* Freed, or moved. */
	struct shadow old = *shadow;
	*shadow = (struct shadow){ 0 };
	if (block == NULL)
		return;
	*shadow = (struct shadow){ .block = block, .size = size, .key = old.key };
	MUST(quarry_usable_size(block) >= size);
	if (old.size <= size || old.size <= EDGE_BYTES) {
		old.block = block;
		old.size = min_size(old.size, size);
		edges(&old, old.size, true);
	}
	edges(shadow, size, false);
}

static int count_block(void *block, size_t size, void *context)
{
	MUST(block != NULL && quarry_usable_size(block) >= size);
	++*(size_t *)context;
	return 0;
}

static void look(struct shadow *shadow, unsigned number)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	struct quarry_description found;
	size_t blocks = 0;
	char json[256];

	switch (number % 8) {
	case 0:
		quarry_trim(number);
		break;
	case 1:
		quarry_purge(number >> 3);
		break;
	case 2:
		MUST(quarry_stats(&stats) == 0 && stats.live_blocks <= BLOCKS + 64);
		break;
	case 3:
		quarry_stats_json(json, number % sizeof(json));
		break;
	case 4:
		quarry_walk(count_block, &blocks);
		break;
	case 5:
		MUST(quarry_good_size(number) >= number);
		break;
	default:
		found = quarry_describe((char *)((uintptr_t)shadow->block + number));
		MUST(shadow->block == NULL || number >= shadow->size || (found.kind == QUARRY_LIVE && found.block == shadow->block));
	}
}

static void call(const uint8_t *bytes)
{
	struct shadow *shadow = &shadows[bytes[1] % BLOCKS];
	unsigned number = bytes[2] | (unsigned)bytes[3] << 8;
	unsigned char key = (unsigned char)(bytes[1] ^ bytes[2]);
	size_t size = size_of(number);
	size_t alignment = alignment_of(bytes[1] >> 2);
	unsigned kind = bytes[0] % 16;
	void *block = NULL;

	/* What would succeed, and cost the machine its memory. */
	if (size > LARGE_MOST && size < (size_t)1 << 46)
		size %= LARGE_MOST;
	if (alignment > LARGE_MOST && alignment < (size_t)1 << 46)
		alignment = LARGE_MOST;
	if (kind < 9 && shadow->block != NULL)
		give(shadow, bytes[0] >> 4);
	errno = 0;
	switch (kind) {
	case 0: case 1: case 2:
		take(shadow, quarry_malloc(size), size, 0, false, key);
		break;
	case 3:
		take(shadow, quarry_calloc(1 + key % 7, size / (1 + key % 7)), size / (1 + key % 7) * (1 + key % 7), 0, true, key);
		break;
	case 4:
		take(shadow, quarry_aligned_alloc(alignment, size), size, alignment, false, key);
		break;
	case 5:
		take(shadow, quarry_memalign(alignment, size), size, alignment, false, key);
		break;
	case 6:
		errno = quarry_posix_memalign(&block, alignment, size);
		take(shadow, block, size, alignment, false, key);
		break;
	case 7:
		take(shadow, quarry_valloc(size), size, 4096, false, key);
		break;
	case 8:
		/* Whole pages, which are all the caller's. */
		take(shadow, quarry_pvalloc(size), ROUND_UP(size, 4096), 4096, false, key);
		break;
	case 9: case 10: case 11:
		resize(shadow, size, kind == 11);
		break;
	case 12: case 13: case 14:
		give(shadow, bytes[0] >> 4);
		break;
	default:
		look(shadow, number);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	for (; length >= 4; bytes += 4, length -= 4)
		call(bytes);
	for (size_t i = 0; i < BLOCKS; i++)
		give(&shadows[i], (unsigned)i);
	return 0;
}

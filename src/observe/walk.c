/* Walks: see walk.h. */
#include "observe/walk.h"

#include "base/bits.h"
#include "base/check.h"
#include "block/ledger.h"
#include "block/lookup.h"
#include "block/secure.h"
#include "block/slab.h"
#include "guard/guarded.h"

/* Blocks that are noted under one hold of the lock, on the stack of whoever walks: 2.5 KiB. */
#define BATCH_BLOCKS 64

/* ---- Spans ---- */

/* Regions are listed by age; a walk takes them by address. */
static void enter_region_above(struct span_walk *walk, uintptr_t address)
{
	const struct region *next = NULL;

	for (size_t i = 0; i < walk->region_count; i++) {
		const struct region *region = region_at(i);
		if (region->base >= address && region->base < walk->below && (next == NULL || region->base < next->base))
			next = region;
	}
	walk->region = next;
	if (next == NULL)
		return;
	walk->at = next->base;
	walk->end = next->base + atomic_load_explicit(&next->committed_bytes, memory_order_acquire);
}

struct span_walk span_walk_between(uintptr_t from, uintptr_t below)
{
	struct span_walk walk = { .region_count = region_count(), .below = below };

	enter_region_above(&walk, from);
	return walk;
}

struct span_walk span_walk_start(void)
{
	return span_walk_between(0, UINTPTR_MAX);
}

struct span_walk span_walk_region(const struct region *region)
{
	return (struct span_walk){ .region = region,
		                   .at = region->base,
		                   .end = region->base + atomic_load_explicit(&region->committed_bytes, memory_order_acquire) };
}

struct span *span_walk_next(struct span_walk *walk, size_t *budget)
{
	DCHECK(lock_is_held(&space_lock));
	while (walk->region != NULL && *budget > 0) {
		if (walk->at >= walk->end) {
			enter_region_above(walk, walk->region->base + walk->region->reserved_bytes);
			continue;
		}
		span_walk_spend(budget, 1);
		uintptr_t unit = ROUND_DOWN(walk->at, UNIT_BYTES);
		struct span *span = region_span(walk->region, unit);
		/* A free span shows itself in its first and last unit only, a large block's in its first. */
		bool is_whole = span->kind == SPAN_SLAB || span->start == unit;
		walk->at = is_whole ? span->start + span->units * UNIT_BYTES : unit + UNIT_BYTES;
		if (span->kind == SPAN_SLAB || span->kind == SPAN_LARGE)
			return span;
	}
	return NULL;
}

/* ---- Live blocks ---- */

/* A block that was live under the lock. */
struct noted {
	const struct span *span;
	const ledger_byte *state;
	uintptr_t base;                 /* of the span */
	uintptr_t start;
	size_t bytes;
};

struct batch {
	struct noted blocks[BATCH_BLOCKS];
	size_t count;
};

/* False if that was the last that fits. */
static bool batch_add(struct batch *batch, struct noted noted)
{
	batch->blocks[batch->count++] = noted;
	return batch->count < BATCH_BLOCKS;
}

static bool batch_add_small(struct batch *batch, const struct span *slab, size_t index)
{
	return batch_add(batch, (struct noted){ .span = slab, .state = &slab->ledger[index], .base = slab->base,
	                                        .start = slab->base + index * slab->block_bytes,
	                                        .bytes = secure_asked(slab, &slab->ledger[index]) });
}

static bool batch_add_large(struct batch *batch, const struct span *large)
{
	return batch_add(batch, (struct noted){ .span = large, .state = &large->large_state, .base = large->base,
	                                        .start = large->base,
	                                        .bytes = secure_asked(large, &large->large_state) });
}

/* The blocks of a slab that start at `from` or above; returns where the next step goes on if the batch is full, 0 if
 * all were seen. */
static uintptr_t note_slab(const struct span *slab, uintptr_t from, struct batch *batch)
{
	size_t index = slab->first_index;

	if (from > slab->base)
		index = max_size(index, (from - slab->base + slab->block_bytes - 1) / slab->block_bytes);
	for (; index < slab->end_index; index++)
		if (ledger_get(&slab->ledger[index]) == LEDGER_LIVE && !batch_add_small(batch, slab, index))
			return slab->base + (index + 1) * slab->block_bytes;
	return 0;
}

/* Notes the next live blocks; with none the walk may be at its end. Takes space_lock. */
static void note_batch(struct span_walk *walk, struct batch *batch)
{
	size_t budget = SPAN_WALK_BUDGET;
	uintptr_t from = walk->at;
	uintptr_t resume = 0;
	struct span *span;

	batch->count = 0;
	lock_take(&space_lock);
	while (resume == 0 && (span = span_walk_next(walk, &budget)) != NULL) {
		if (span->kind == SPAN_SLAB) {
			resume = note_slab(span, from, batch);
			span_walk_spend(&budget, slab_block_count(span));
		} else if (ledger_get(&span->large_state) == LEDGER_LIVE && !batch_add_large(batch, span)) {
			resume = walk->at;
		}
	}
	if (resume != 0)
		walk->at = resume;
	lock_release(&space_lock);
}

/* Whether a noted block still lives, or one like it in its place; cuts a large one to what is left of it. A header
 * serves one size class, or large blocks, for ever, and a LIVE one is in use: at the same base its blocks are what
 * they were. So what is visited never overlaps, whatever has been freed and made since. Takes space_lock, under which
 * bases change. */
static bool still_lives(struct noted *noted)
{
	const struct span *span = noted->span;

	lock_take(&space_lock);
	bool lives = ledger_get(noted->state) == LEDGER_LIVE && span->base == noted->base;
	if (lives && span->kind == SPAN_LARGE)
		noted->bytes = min_size(noted->bytes, secure_asked(span, &span->large_state));
	lock_release(&space_lock);
	return lives;
}

static int walk_regions(struct span_walk walk, int (*visit)(void *block, size_t size, void *context), void *context)
{
	struct batch batch;

	while (walk.region != NULL) {
		note_batch(&walk, &batch);
		for (size_t i = 0; i < batch.count; i++) {
			struct noted *noted = &batch.blocks[i];
			if (!still_lives(noted))
				continue;
			int result = visit((void *)noted->start, noted->bytes, context);
			if (result != 0)
				return result;
		}
	}
	return 0;
}

int walk_live(int (*visit)(void *block, size_t size, void *context), void *context)
{
	if (!guarded_on)
		return walk_regions(span_walk_start(), visit, context);
	/* The guarded arena lies between regions, as the kernel has placed them. */
	int result = walk_regions(span_walk_between(0, slots_base), visit, context);
	if (result == 0)
		result = guarded_walk(visit, context);
	return result != 0 ? result : walk_regions(span_walk_between(slots_base, UINTPTR_MAX), visit, context);
}

/* ---- One address ---- */

/* The block itself only: what lies around it is in no block. */
static struct quarry_description describe_guarded(const void *address)
{
	struct quarry_description description = { .kind = QUARRY_UNUSED };
	struct guarded block;

	if (!guarded_find(address, &block) || (uintptr_t)address - block.start >= block.size + (block.size == 0))
		return description;
	description.kind = block.state == GUARDED_LIVE ? QUARRY_LIVE : QUARRY_FREE;
	description.block = (void *)block.start;
	description.size = block.size;
	description.offset = (uintptr_t)address - block.start;
	return description;
}

static enum quarry_kind block_kind(uint8_t state)
{
	switch (state) {
	case LEDGER_LIVE:
		return QUARRY_LIVE;
	case LEDGER_FREE:
	case LEDGER_CACHED:
	case LEDGER_CACHED_ZERO:
	case LEDGER_LEAVING:
		return QUARRY_FREE;
	default:
		return QUARRY_UNUSED;
	}
}

struct quarry_description walk_describe(const void *address)
{
	struct place place = place_of(address);
	struct quarry_description description = { .kind = QUARRY_UNUSED };

	if (guarded_owns(address))
		return describe_guarded(address);
	if (guarded_is_table(address))
		place.kind = PLACE_METADATA;
	switch (place.kind) {
	case PLACE_FOREIGN:
		description.kind = QUARRY_FOREIGN;
		return description;
	case PLACE_METADATA:
		description.kind = QUARRY_METADATA;
		return description;
	case PLACE_RESERVED:
	case PLACE_SPAN_FREE:
	case PLACE_SLAB_EDGE:
		return description;
	case PLACE_BLOCK:
		break;
	}
	description.kind = block_kind(ledger_get(place.state));
	if (description.kind == QUARRY_UNUSED)
		return description;
	description.block = (void *)place.start;
	description.size = description.kind == QUARRY_LIVE ? secure_asked(place.span, place.state) : place.bytes;
	description.offset = (uintptr_t)address - place.start;
	description.large = place.state == &place.span->large_state;
	description.fresh = description.kind == QUARRY_FREE && place.fresh;
	return description;
}

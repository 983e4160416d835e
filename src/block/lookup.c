/* What an address is to Quarry: see lookup.h. */
#include "block/lookup.h"

#include "block/sizeclass.h"
#include "space/meta.h"

/* The large block that a unit which shows nobody may be the inside of: its first unit is the nearest one below that
 * shows a span. */
READS_STALE static struct span *large_around(const struct region *region, uintptr_t address)
{
	for (uintptr_t at = ROUND_DOWN(address, UNIT_BYTES); at > region->base;) {
		at -= UNIT_BYTES;
		struct span *span = region_span(region, at);
		if (span->kind == SPAN_NOBODY)
			continue;
		return span->kind == SPAN_LARGE && address - span->start < span->units * UNIT_BYTES ? span : NULL;
	}
	return NULL;
}

READS_STALE static struct place place_in_slab(struct span *slab, uintptr_t address)
{
	bool is_start;
	size_t index = block_index(address - slab->base, size_classes[slab->class_index].multiplier, &is_start);
	struct place place = { .kind = PLACE_SLAB_EDGE, .span = slab };

	if (index < slab->first_index || index >= slab->end_index)
		return place;
	place.kind = PLACE_BLOCK;
	place.start = slab->base + index * slab->block_bytes;
	place.bytes = slab->block_bytes;
	place.state = &slab->ledger[index];
	place.fresh = index >= slab->fresh_index || ledger_get(place.state) == LEDGER_CACHED_ZERO;
	return place;
}

READS_STALE struct place place_of(const void *pointer)
{
	uintptr_t address = (uintptr_t)pointer;
	const struct region *region = region_of(pointer);
	struct place place = { .kind = PLACE_FOREIGN };

	if (region == NULL) {
		for (size_t i = 0; i < region_count() && place.kind == PLACE_FOREIGN; i++)
			if (address - region_at(i)->reservation < region_at(i)->reservation_bytes)
				place.kind = PLACE_METADATA;
		if (meta_owns(pointer))
			place.kind = PLACE_METADATA;
		return place;
	}
	place.kind = PLACE_RESERVED;
	if (address - region->base >= atomic_load_explicit(&region->committed_bytes, memory_order_acquire))
		return place;

	struct span *span = region_span(region, address);
	if (span->kind == SPAN_NOBODY) {
		span = large_around(region, address);
		if (span == NULL)
			span = &span_nobody;
	}
	if (span->kind == SPAN_SLAB && address - span->start < span->units * UNIT_BYTES)
		return place_in_slab(span, address);
	place.kind = PLACE_SPAN_FREE;
	if (span->kind != SPAN_LARGE)
		return place;
	place.kind = PLACE_SLAB_EDGE;
	place.span = span;
	if (address - span->base < span->large_bytes) {
		place.kind = PLACE_BLOCK;
		place.start = span->base;
		place.bytes = span->large_bytes;
		place.state = &span->large_state;
	}
	return place;
}

READS_STALE bool live_block(const void *block, struct span **span, ledger_byte **state)
{
	bool is_start;

	*span = span_of(block);
	size_t index = block_index((uintptr_t)block - (*span)->base,
	                           atomic_load_explicit(&(*span)->multiplier, memory_order_relaxed), &is_start);
	/* The second test is for a descriptor that is made anew while a mistaken free looks at it. */
	if (!is_start || index >= (*span)->end_index)
		return false;
	*state = &(*span)->ledger[index];
	return ledger_get(*state) == LEDGER_LIVE;
}

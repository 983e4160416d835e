/* What an address is to Quarry: for checks that have failed, reports, walks. Slow, safe for any address, no lock. */
#ifndef QUARRY_BLOCK_LOOKUP_H
#define QUARRY_BLOCK_LOOKUP_H

#include "block/ledger.h"
#include "space/space.h"

enum place_kind {
	PLACE_FOREIGN,          /* in no region and no metadata */
	PLACE_METADATA,
	PLACE_RESERVED,         /* in a region, never committed */
	PLACE_SPAN_FREE,        /* in a free span or a unit of nobody */
	PLACE_SLAB_EDGE,        /* in a slab's colour or tail */
	PLACE_BLOCK,            /* in a block, small or large; `state` says which */
};

struct place {
	enum place_kind kind;
	struct span *span;      /* slab or large; NULL otherwise */
	uintptr_t start;        /* of the block */
	size_t bytes;           /* usable */
	ledger_byte *state;     /* PLACE_BLOCK only */
	bool fresh;             /* known: its slab has never handed this block out */
};

struct place place_of(const void *address);

/* The live block that starts at `block`: its state's byte and its span. False if there is none. */
bool live_block(const void *block, struct span **span, ledger_byte **state);

#endif

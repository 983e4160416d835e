/* The quarantine: see quarantine.h. Mirrored by model/ledger.pml (secure_leave). */
#include "thread/quarantine.h"

#include "base/check.h"
#include "block/secure.h"
#include "space/meta.h"

/* A block of more than this part of what may wait goes at once: it would empty the rest. */
#define BYTES_FRACTION 8

static bool quarantine_make(struct quarantine *quarantine)
{
	if (LIKELY(quarantine->entries != NULL))
		return true;
	lock_take(&space_lock);
	quarantine->entries = meta_alloc_recycled(secure.quarantine_blocks * sizeof(*quarantine->entries));
	lock_release(&space_lock);
	return quarantine->entries != NULL;
}

static void leave(struct heap *heap, size_t index)
{
	struct quarantine *quarantine = &heap->secured.quarantine;
	struct entry entry = quarantine->entries[index];

	quarantine->entries[index] = quarantine->entries[--quarantine->count];
	quarantine->bytes -= span_of(entry.block)->block_bytes;
	heap_give(heap, entry);
}

void quarantine_put(struct heap *heap, struct entry entry, size_t bytes)
{
	struct quarantine *quarantine = &heap->secured.quarantine;

	if (bytes > secure.quarantine_bytes / BYTES_FRACTION || !quarantine_make(quarantine)) {
		heap_give(heap, entry);
		return;
	}
	while (quarantine->count > 0 && (quarantine->count >= secure.quarantine_blocks ||
	                                 quarantine->bytes + bytes > secure.quarantine_bytes))
		leave(heap, chacha_below(&heap->secured.random, quarantine->count));
	quarantine->entries[quarantine->count++] = entry;
	quarantine->bytes += bytes;
}

void quarantine_empty(struct heap *heap)
{
	while (heap->secured.quarantine.count > 0)
		leave(heap, heap->secured.quarantine.count - 1);
}

void quarantine_forget(struct heap *heap)
{
	heap->secured.quarantine = (struct quarantine){ NULL, 0, 0 };
}

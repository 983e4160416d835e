/* Giving everything back that can be reached: see trim.h. */
#include "api/trim.h"

#include "block/slab.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/pool.h"
#include "thread/shared.h"

/* Drops the pages of all slabs that hold only free blocks, whoever owns the slab: the claim is enough. A slab that is
 * released while we look is a header that waits for its next slab; its claim protects that as well. */
READS_STALE static size_t drop_slab_pages(void)
{
	size_t dropped = 0;

	for (size_t i = 0; i < region_count(); i++) {
		const struct region *region = region_at(i);
		size_t units = atomic_load_explicit(&region->committed_bytes, memory_order_acquire) >> UNIT_LOG2;
		for (size_t unit = 0; unit < units; unit++) {
			uintptr_t address = region->base + unit * UNIT_BYTES;
			struct span *slab = region_span(region, address);
			if (slab->kind != SPAN_SLAB || slab->start != address || !claim_try(slab))
				continue;
			/* Under the claim it can't be released; but it may have been before. */
			if (slab->kind == SPAN_SLAB && slab->start == address && region_span(region, address) == slab)
				dropped += slab_drop_pages(slab);
			claim_release(slab);
		}
	}
	return dropped;
}

size_t trim_all(size_t keep_bytes)
{
	struct heap *heap = life_heap_if_any();

	if (heap != NULL) {
		heap_drop_all(heap);
		heap_drain(heap);
	}
	shared_drop_all();
	pool_tidy();
	size_t dropped = drop_slab_pages();
	return dropped + purge_all(keep_bytes);
}

/* Giving everything back that can be reached: see trim.h. */
#include "api/trim.h"

#include "block/large.h"
#include "block/secure.h"
#include "block/sweep.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/pool.h"
#include "thread/shared.h"

static void drop_cached(void)
{
	struct heap *heap = life_heap_if_any();

	if (heap != NULL) {
		heap_drop_all(heap);
		heap_drain(heap);
	}
	shared_drop_all();
	pool_tidy();
	/* What the others' magazines and quarantines have given up may have been this one's. */
	if (heap != NULL)
		heap_drain(heap);
	if (secure.hides_large)
		large_reveal_all();
}

size_t trim(unsigned flags, size_t keep_bytes, bool count)
{
	size_t dropped = 0;

	if ((flags & QUARRY_PURGE_CACHED) != 0)
		drop_cached();
	if ((flags & QUARRY_PURGE_PAGES) != 0)
		dropped += sweep_all(SLAB_SWEEP_ALL, count);
	if ((flags & QUARRY_PURGE_SPANS) != 0)
		dropped += count ? purge_all(keep_bytes) : purge_all_uncounted(keep_bytes);
	return dropped;
}

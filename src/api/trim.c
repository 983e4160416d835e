/* Giving everything back that can be reached: see trim.h. */
#include "api/trim.h"

#include "block/sweep.h"
#include "space/purge.h"
#include "thread/life.h"
#include "thread/pool.h"
#include "thread/shared.h"

size_t trim_all(size_t keep_bytes)
{
	struct heap *heap = life_heap_if_any();

	if (heap != NULL) {
		heap_drop_all(heap);
		heap_drain(heap);
	}
	shared_drop_all();
	pool_tidy();
	size_t dropped = sweep_all(SLAB_SWEEP_ALL, true);
	return dropped + purge_all(keep_bytes);
}

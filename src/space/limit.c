/* The limit of the process: see limit.h. Mirrored by model/limit.pml. */
#include "space/limit.h"

#include <stdatomic.h>

#include "base/check.h"
#include "space/span.h"

/* 0: none. */
static _Atomic uint64_t most;
/* Metadata; written under space_lock. */
static _Atomic size_t other_bytes;

void limit_configure(uint64_t bytes)
{
	atomic_store_explicit(&most, bytes, memory_order_relaxed);
}

uint64_t limit_bytes(void)
{
	return atomic_load_explicit(&most, memory_order_relaxed);
}

size_t limit_excess(size_t bytes)
{
	uint64_t limit = limit_bytes();
	uint64_t held;

	if (LIKELY(limit == 0))
		return 0;
	held = (uint64_t)(span_used_units() + span_dirty_units()) * UNIT_BYTES +
	       atomic_load_explicit(&other_bytes, memory_order_relaxed);
	if (held <= limit && bytes <= limit - held)
		return 0;
	return bytes > SIZE_MAX - held ? SIZE_MAX : held + bytes - limit;
}

bool limit_allows(size_t bytes)
{
	DCHECK(lock_is_held(&space_lock));
	return limit_excess(bytes) == 0;
}

bool limit_is_possible(size_t bytes)
{
	uint64_t limit = limit_bytes();

	return limit == 0 || bytes <= limit;
}

void limit_note(size_t bytes)
{
	DCHECK(lock_is_held(&space_lock));
	atomic_store_explicit(&other_bytes, atomic_load_explicit(&other_bytes, memory_order_relaxed) + bytes,
	                      memory_order_relaxed);
}

/* realloc, and how large a block is: see resize.h. */
#include "api/resize.h"

#include <string.h>

#include "api/allocate.h"
#include "api/fast.h"
#include "api/foreign.h"
#include "api/secure.h"
#include "block/large.h"
#include "block/lookup.h"
#include "block/secure.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "space/purge.h"

/* From here on moving page tables beats copying, measured by bench/vmas: below it the copy mostly lands in memory that
 * is there already. */
#define MOVE_BYTES_MIN (256 * KIB)

static size_t block_bytes(const struct span *span, const ledger_byte *state)
{
	return state == &span->large_state ? span->large_bytes : span->block_bytes;
}

/* In line: realloc that grows small blocks is a hot path. */
ALWAYS_INLINE void *resize_by_copy(void *block, size_t old_bytes, size_t size, const char *call)
{
	void *target = fast_allocate(size);

	if (target == NULL)
		return NULL;
	memcpy(target, block, min_size(old_bytes, size));
	fast_release(block, call);
	return target;
}

void *resize_by_moving(struct span *large, ledger_byte *state, size_t size)
{
	if (large->large_bytes < MOVE_BYTES_MIN || !ledger_end_life(state, LEDGER_CACHED))
		return NULL;
	void *target = large_move(large, size);
	if (target == NULL)
		ledger_set(state, LEDGER_LIVE);
	return target;
}

/* NULL: the block must be copied. */
static void *resize_large(struct span *large, ledger_byte *state, void *block, size_t size)
{
	if (size <= SMALL_BYTES_MAX)
		return NULL;
	if (size > large->large_bytes)
		purge_end_hold();
	return large_resize_in_place(large, size) ? block : resize_by_moving(large, state, size);
}

/* A guarded block always moves, so that old pointers to it are found out. */
static COLD void *resize_guarded(void *block, size_t size, const char *call)
{
	size_t old_bytes;

	if (!guarded_may_resize(block, call, &old_bytes))
		return allocate_failed();
	if (size == 0) {
		fast_release(block, call);
		return NULL;
	}
	return resize_by_copy(block, old_bytes, size, call);
}

void *resize(void *block, size_t size, const char *call)
{
	struct span *span;
	ledger_byte *state;

	if (block == NULL)
		return fast_allocate(size);
	if (region_of(block) == NULL)
		return guarded_owns(block) ? resize_guarded(block, size, call) : foreign_realloc(block, size, call);
	if (!live_block(block, &span, &state)) {
		report_bad_pointer(call, block);
		return allocate_failed();
	}
	if (size == 0) {
		fast_release(block, call);
		return NULL;
	}
	if (UNLIKELY(secure.on)) {
		void *resized = secure_resize(span, state, block, size, call);
		return resized != NULL ? resized : resize_by_copy(block, secure_asked(span, state), size, call);
	}
	size_t old_bytes = block_bytes(span, state);
	if (state == &span->large_state) {
		void *resized = resize_large(span, state, block, size);
		if (resized != NULL)
			return resized;
	} else if (size <= old_bytes && (size >= old_bytes / RESIZE_SHRINK_FRACTION || old_bytes <= CACHE_LINE_BYTES)) {
		return block;
	}
	return resize_by_copy(block, old_bytes, size, call);
}

size_t usable_size(const void *block, const char *call)
{
	struct span *span;
	ledger_byte *state;

	if (block == NULL)
		return 0;
	if (live_block(block, &span, &state))
		return secure_asked(span, state);
	if (region_of(block) == NULL && guarded_owns(block))
		return guarded_size(block, call);
	if (region_of(block) == NULL)
		return foreign_usable_size((void *)(uintptr_t)block, call);
	report_bad_pointer(call, block);
	return 0;
}

size_t good_size(size_t size)
{
	if (size > PTRDIFF_MAX)
		return 0;
	if (guarded_on || secure.on)
		return size;
	if (size > SMALL_BYTES_MAX)
		return large_good_size(size);
	return size_classes[size_class_of(size + (size == 0))].size;
}

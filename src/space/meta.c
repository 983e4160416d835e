/* Memory for Quarry's own structures: see meta.h. */
#include "space/meta.h"

#include <stdatomic.h>

#include "base/check.h"
#include "base/memcheck.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/limit.h"
#include "space/space.h"

#define ARENA_MAX 1024
/* Committed at a time: starts small for small programs, then an eighth of what there is. */
#define COMMIT_BYTES_MIN (32 * KIB)
#define COMMIT_BYTES_MAX (4 * MIB)
/* A reservation of its own, when no region's arena has room. */
#define ARENA_BYTES (1 * MIB)
#define RECYCLED_LOG2_MAX 20

struct arena {
	uintptr_t start;
	size_t bytes;
	size_t committed_bytes;
};

/* Appended under space_lock; arena_count is stored last (release), so meta_owns needs no lock. */
static struct arena arenas[ARENA_MAX];
static _Atomic size_t arena_count;

/* One arena is in use, arenas[opened_count - 1]: [next, committed) is ready, [committed, end) reserved. */
static struct {
	size_t opened_count;
	uintptr_t next;
	uintptr_t committed;
	uintptr_t end;
	size_t used_bytes;
	size_t committed_total;
	void *recycled[RECYCLED_LOG2_MAX + 1];
} meta;

bool meta_add_arena(void *start, size_t bytes)
{
	size_t count = atomic_load_explicit(&arena_count, memory_order_relaxed);

	DCHECK(lock_is_held(&space_lock));
	if (count == ARENA_MAX)
		return false;
	arenas[count] = (struct arena){ .start = (uintptr_t)start, .bytes = bytes };
	atomic_store_explicit(&arena_count, count + 1, memory_order_release);
	return true;
}

static bool arena_reserve(size_t bytes)
{
	size_t page = os_page_bytes();
	size_t usable = ROUND_UP(max_size(bytes, ARENA_BYTES), page);
	char *memory = os_reserve(usable + 2 * page);

	if (memory == NULL) {
		usable = ROUND_UP(bytes, page);
		memory = os_reserve(usable + 2 * page);
	}
	if (memory == NULL)
		return false;
	huge_note_reserved(memory, usable + 2 * page);
	if (meta_add_arena(memory + page, usable))
		return true;
	os_unmap(memory, usable + 2 * page);
	return false;
}

/* Leaves the arena in use for the next one that has room, reserving one if there is none. */
static bool arena_open(size_t bytes)
{
	do {
		if (meta.opened_count == atomic_load_explicit(&arena_count, memory_order_relaxed) && !arena_reserve(bytes))
			return false;
		const struct arena *arena = &arenas[meta.opened_count++];
		meta.next = meta.committed = arena->start;
		meta.end = arena->start + arena->bytes;
	} while (meta.end - meta.next < bytes);
	return true;
}

static bool commit_up_to(uintptr_t address)
{
	size_t needed = ROUND_UP(address - meta.committed, os_page_bytes());
	size_t step = max_size(COMMIT_BYTES_MIN, min_size(meta.committed_total / 8, COMMIT_BYTES_MAX));

	step = min_size(max_size(ROUND_UP(step, os_page_bytes()), needed), meta.end - meta.committed);
	if (!limit_allows(step) || os_commit((void *)meta.committed, step) != 0) {
		step = needed;
		if (!limit_allows(step) || os_commit((void *)meta.committed, step) != 0)
			return false;
	}
	memcheck_own((void *)meta.committed, step);
	limit_note(step);
	meta.committed += step;
	arenas[meta.opened_count - 1].committed_bytes += step;
	meta.committed_total += step;
	return true;
}

void *meta_alloc_ahead(size_t bytes)
{
	bytes = ROUND_UP(bytes, CACHE_LINE_BYTES);
	DCHECK(lock_is_held(&space_lock));
	if (meta.end - meta.next < bytes && !arena_open(bytes))
		return NULL;
	if (meta.committed < meta.next + bytes && !commit_up_to(meta.next + bytes))
		return NULL;
	void *memory = (void *)meta.next;
	meta.next += bytes;
	return memory;
}

void meta_note_used(size_t bytes)
{
	DCHECK(lock_is_held(&space_lock));
	meta.used_bytes += ROUND_UP(bytes, CACHE_LINE_BYTES);
}

void *meta_alloc(size_t bytes)
{
	void *memory = meta_alloc_ahead(bytes);

	if (memory != NULL)
		meta_note_used(bytes);
	return memory;
}

void *meta_alloc_recycled(size_t bytes)
{
	unsigned log2 = log2_floor(power_of_two_ceil(max_size(bytes, CACHE_LINE_BYTES)));

	if (log2 > RECYCLED_LOG2_MAX)
		return NULL;
	void **memory = meta.recycled[log2];
	if (memory == NULL)
		return meta_alloc((size_t)1 << log2);
	meta.recycled[log2] = *memory;
	meta.used_bytes += (size_t)1 << log2;
	return memory;
}

void meta_free_recycled(void *memory, size_t bytes)
{
	unsigned log2 = log2_floor(power_of_two_ceil(max_size(bytes, CACHE_LINE_BYTES)));

	DCHECK(lock_is_held(&space_lock) && log2 <= RECYCLED_LOG2_MAX);
	*(void **)memory = meta.recycled[log2];
	meta.recycled[log2] = memory;
	meta.used_bytes -= (size_t)1 << log2;
}

bool meta_owns(const void *address)
{
	size_t count = atomic_load_explicit(&arena_count, memory_order_acquire);

	for (size_t i = 0; i < count; i++)
		if ((uintptr_t)address - arenas[i].start < arenas[i].bytes)
			return true;
	return false;
}

bool meta_arena(size_t index, void **start, size_t *committed_bytes)
{
	DCHECK(lock_is_held(&space_lock));
	if (index >= atomic_load_explicit(&arena_count, memory_order_relaxed))
		return false;
	*start = (void *)arenas[index].start;
	*committed_bytes = arenas[index].committed_bytes;
	return true;
}

size_t meta_used_bytes(void)
{
	return meta.used_bytes;
}

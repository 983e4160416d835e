/* Large blocks with a security level: see large_secure.h. */
#include "block/large_secure.h"

#include "os/os.h"
#include "space/purge.h"

/* Above what is always zeroed by writing (large_secure.h) memory is dropped, unless the program's blocks of late were mostly
 * touched, which the time tells that the kernel took: then up to some MiB are written to as well, but every so many-th time.
 * Only blocks that began with hardly any memory tell: what else is there may be what we have written to. Writing touches pages
 * that the program has not, which its time tells in turn: then the next one is dropped again. A page that is dropped and needed
 * again costs forty times what zeroing it does. */
#define WIPE_DENSE_BYTES_MAX (4 * MIB)
#define WIPE_CALL_NS 3000
#define WIPE_DENSE_UNIT_NS 1000
#define WIPE_SPARSE_UNIT_NS 10000
#define WIPE_DENSE_TRIES 1024
static _Atomic uint32_t wipes_left;     /* by writing, before the kernel is asked again */

static uintptr_t front_guard(const struct span *large)
{
	return ROUND_DOWN(large->base, secure.guard_bytes) - secure.guard_bytes;
}

static uintptr_t back_guard(const struct span *large)
{
	return ROUND_UP(large->base + large->large_bytes + secure.canary_bytes, secure.guard_bytes);
}

/* Where the span has room for them. Hints, as a slab's. */
static void guards_make(struct span *large)
{
	large->guards = 0;
	if (secure.guards == SECURE_GUARDS_NONE)
		return;
	if (back_guard(large) + secure.guard_bytes <= large->start + large->units * UNIT_BYTES &&
	    os_guard_install((void *)back_guard(large), secure.guard_bytes) == 0)
		large->guards |= GUARD_BEHIND;
	if (large->base - large->start >= secure.guard_bytes && secure.guards == SECURE_GUARDS_AROUND &&
	    os_guard_install((void *)front_guard(large), secure.guard_bytes) == 0)
		large->guards |= GUARD_BEFORE;
}

void large_guards_remove(struct span *large)
{
	if ((large->guards & GUARD_BEHIND) != 0)
		os_guard_remove((void *)back_guard(large), secure.guard_bytes);
	if ((large->guards & GUARD_BEFORE) != 0)
		os_guard_remove((void *)front_guard(large), secure.guard_bytes);
	large->guards = 0;
}

void large_wipe(uintptr_t from, size_t bytes)
{
	size_t page = os_page_bytes();
	uintptr_t page_from = ROUND_UP(from, page);
	uintptr_t page_to = ROUND_DOWN(from + bytes, page);

	if (!secure.zero)
		return;
	if (bytes <= LARGE_WIPE_BYTES_MAX || page_from >= page_to || purge_range((void *)page_from, page_to - page_from) != 0) {
		os_zero((void *)from, bytes);
		return;
	}
	os_zero((void *)from, page_from - from);
	os_zero((void *)page_to, from + bytes - page_to);
}

bool large_wipe_whole(const struct span *large)
{
	size_t page = os_page_bytes();
	uintptr_t from = ROUND_DOWN(large->base, page);
	size_t bytes = ROUND_UP(large->base + large->asked_bytes + secure.canary_bytes, page) - from;
	uint32_t left = atomic_load_explicit(&wipes_left, memory_order_relaxed);
	uint64_t units = bytes >> UNIT_LOG2;

	if (!secure.zero)
		return false;
	if (bytes <= LARGE_WIPE_BYTES_MAX) {
		os_zero((void *)large->base, large->asked_bytes + secure.canary_bytes);
		return false;
	}
	uint64_t began_ns = os_now_ns();
	if ((left > 0 && bytes <= WIPE_DENSE_BYTES_MAX) || purge_range((void *)from, bytes) != 0) {
		os_zero((void *)large->base, large->asked_bytes + secure.canary_bytes);
		bool was_away = os_now_ns() - began_ns >= units * WIPE_SPARSE_UNIT_NS;
		atomic_store_explicit(&wipes_left, was_away || left == 0 ? 0 : left - 1, memory_order_relaxed);
		return false;
	}
	bool was_there = os_now_ns() - began_ns >= WIPE_CALL_NS + units * WIPE_DENSE_UNIT_NS;
	if (large->born_zero)
		atomic_store_explicit(&wipes_left, was_there ? WIPE_DENSE_TRIES : 0, memory_order_relaxed);
	return true;
}

size_t large_mend(const struct span *large)
{
	void *block = (void *)large->base;

	if (secure_is_zero(block, large->large_bytes))
		return large->large_bytes;
	size_t changed = secure_first_nonzero(block, large->large_bytes);
	os_zero(block, large->large_bytes);
	return changed;
}

void large_set_asked(struct span *large, size_t asked)
{
	large->asked_bytes = asked;
	if (secure.canary)
		secure_set_canary((void *)large->base, asked);
}

void large_fortify(struct span *large, size_t asked)
{
	large_set_asked(large, asked);
	guards_make(large);
}

void large_unfortify(struct span *large)
{
	large_guards_remove(large);
	os_zero((char *)large->base + large->asked_bytes, secure.canary_bytes);
}

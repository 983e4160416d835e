/* Large blocks with a security level: see large_secure.h. */
#include "block/large_secure.h"

#include "os/os.h"
#include "space/purge.h"

/* What a freed block used is written to where the program's blocks of late were mostly touched, and dropped where they were not:
 * a page that is dropped and needed again costs forty times what zeroing it does, and one that is written to though nobody had
 * touched it as much. The time that the kernel takes to drop a block tells which it is; every so many-th is dropped to be told
 * again. What else is there of a block that didn't begin with hardly any memory may be what we have written to: it tells only
 * while nothing is written. Writing that takes as long as page faults do tells in its turn. */
#define WIPE_WRITE_BYTES_MAX (32 * MIB)
#define WIPE_CALL_NS 3000
#define WIPE_THERE_UNIT_NS 1000
#define WIPE_AWAY_UNIT_NS 10000

_Atomic int32_t large_touched;

static int32_t touched(void)
{
	return atomic_load_explicit(&large_touched, memory_order_relaxed);
}

static void set_touched(int32_t value)
{
	atomic_store_explicit(&large_touched, value, memory_order_relaxed);
}

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
	if (bytes <= LARGE_VERIFY_BYTES_MAX || page_from >= page_to || purge_range((void *)page_from, page_to - page_from) != 0) {
		os_zero((void *)from, bytes);
		return;
	}
	os_zero((void *)from, page_from - from);
	os_zero((void *)page_to, from + bytes - page_to);
}

static void wipe_learn(bool was_there, bool tells)
{
	int32_t known = touched();

	if (!was_there && (tells || known < 0))
		set_touched(LARGE_UNTOUCHED);
	else if (was_there && known < 0)
		set_touched(known + 1);
	else if (was_there && tells)
		set_touched(LARGE_TOUCHED);
}

static enum remains wipe_by_writing(const struct span *large, size_t bytes)
{
	if (bytes <= LARGE_VERIFY_BYTES_MAX) {
		os_zero((void *)large->base, large->asked_bytes + secure.canary_bytes);
		return REMAINS_ALL;
	}
	uint64_t began_ns = os_now_ns();
	os_zero((void *)large->base, large->asked_bytes + secure.canary_bytes);
	if (os_now_ns() - began_ns >= (bytes >> UNIT_LOG2) * WIPE_AWAY_UNIT_NS)
		set_touched(LARGE_UNTOUCHED);
	else if (touched() > 0)
		set_touched(touched() - 1);
	return REMAINS_ALL;
}

/* All of [from, to) goes but for the pages at its ends, which the next block here would touch again: its first bytes and its
 * canary. Where nothing may be retained, all that the span has. */
static enum remains wipe_by_dropping(const struct span *large, uintptr_t from, uintptr_t to)
{
	size_t kept = os_page_bytes();

	if (to - from <= 2 * kept || purge_retained_max() == 0) {
		from = large->start;
		to = large->start + large->units * UNIT_BYTES;
		kept = 0;
	}
	uint64_t began_ns = os_now_ns();
	if (purge_range((void *)(from + kept), to - from - 2 * kept) != 0)
		return wipe_by_writing(large, to - from);
	uint64_t there_ns = WIPE_CALL_NS + ((to - from) >> UNIT_LOG2) * WIPE_THERE_UNIT_NS;
	wipe_learn(os_now_ns() - began_ns >= there_ns, large->born_zero);
	if (kept == 0)
		return REMAINS_NOTHING;
	os_zero((void *)from, kept);
	os_zero((void *)(to - kept), kept);
	return REMAINS_ENDS;
}

enum remains large_wipe_whole(const struct span *large)
{
	uintptr_t from = ROUND_DOWN(large->base, os_page_bytes());
	uintptr_t to = ROUND_UP(large->base + large->asked_bytes + secure.canary_bytes, os_page_bytes());
	bool is_verified = to - from <= LARGE_VERIFY_BYTES_MAX;

	if (!secure.zero)
		return REMAINS_ALL;
	/* The child of a fork would get a copy of each page first. */
	if ((is_verified ? touched() < 0 : touched() <= 0) || to - from > WIPE_WRITE_BYTES_MAX || purge_is_held())
		return wipe_by_dropping(large, from, to);
	/* Not what would be dropped the moment after. */
	if (purge_before_release((void *)large->start, large->units * UNIT_BYTES))
		return REMAINS_NOTHING;
	return wipe_by_writing(large, to - from);
}

bool large_is_verified(size_t asked)
{
	return secure.verify && asked <= LARGE_VERIFY_BYTES_MAX && touched() >= 0;
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

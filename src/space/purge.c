/* Giving memory back: see purge.h.
 *
 * Time is cut in ticks of half decay_ms. At each tick what was already dirty at the one before goes back (it has lain
 * for half to one decay_ms), and what is dirty now is marked as aged. Allocation clears the marks.
 *
 * Steps beside allocation and fork are mirrored by model/purge.pml. */
#include "space/purge.h"

#include <stdatomic.h>

#include "base/bits.h"
#include "base/check.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/limit.h"
#include "space/pressure.h"
#include "space/region.h"
#include "space/span.h"

/* Dropping 4 MiB that are there takes 0.5 to 1 ms. What nobody has touched goes by larger steps, or a terabyte of it would be
 * a quarter of a million: twice as much after one that was quick, and as before after one that was not. */
#define PURGE_STEP_BYTES (4 * MIB)
#define PURGE_STEP_BYTES_MAX (256 * MIB)
#define QUICK_NS 50000
#define SLOW_NS 1000000
#define PURGE_STEP_RUNS 32
#define TICKS_PER_DECAY 2
#define SHARE_LOG2 7
/* Mapping anew takes a microsecond for each MiB of which page tables are left. */
#define UNCOMMIT_STEP_UNITS ((64 * MIB) >> UNIT_LOG2)
/* The same when all of it is asked for: each step looks for its place anew. */
#define UNCOMMIT_ALL_STEP_UNITS ((16 * GIB) >> UNIT_LOG2)
/* Pauses that what was asked for waits, at most, for others' forks. */
#define PAUSES_MAX 1000
/* Slow paths between two looks at the clock. */
#define CALLS_PER_LOOK 16
/* Slow paths that pass after the kernel has refused, before it is asked again. */
#define CALLS_AFTER_REFUSAL 4096
/* The same when what is dirty holds no whole huge page. */
#define CALLS_WITHOUT_PIECES 256
/* What dropping a page that is there takes at least: measured 90 to 190 ns, and 3 where nothing is. */
#define PURGE_PAGE_NS 62
/* What may be exceeded before the excess goes: this part of what may be retained, at most so much. */
#define SLACK_FRACTION 8
#define SLACK_BYTES_MAX (2 * MIB)
/* What was needed again raises what may be kept by so much: few mistakes are enough to learn. */
#define CREDIT_FACTOR 2
/* How much of what is purged is there, as learnt from the last so many purges, counts for at least this part. */
#define DENSITY_ONE 256
#define DENSITY_MIN (DENSITY_ONE / 4)
#define DENSITY_PURGES 8
/* What may be retained at most while memory is short. */
#define RETAIN_BYTES_UNDER_PRESSURE (4 * MIB)

static struct {
	_Atomic uint64_t retain_bytes;
	_Atomic uint64_t retain_share;          /* of what is live, in 2^-SHARE_LOG2: this is asked for often */
	_Atomic uint64_t retain_most;
	_Atomic uint64_t decay_ms;
	_Atomic uint64_t next_tick_ms;
	_Atomic bool aged_left;                 /* the last tick's work is not done */
	_Atomic uint32_t calls;
	_Atomic uint32_t calls_to_skip;         /* the kernel has refused (locked memory): not again for a while */
	_Atomic size_t used_peak;               /* bytes in use: the most of late, an eighth less with each tick */
	_Atomic size_t taken_again_seen;        /* span_taken_again_units when we last looked */
	_Atomic uint32_t density;               /* the part of what was purged that was there, in 1/DENSITY_ONE */
	_Atomic size_t credit;                  /* bytes that may be kept besides, because they were needed again */
	_Atomic size_t free_in_slabs;           /* as of the last sweep (block/sweep.h) */
	_Atomic size_t quick_bytes;             /* so much may be tried in one step: 0 at first */
	_Atomic bool paused;                    /* a fork waits for the steps at work: no new one begins */
	_Atomic uint32_t in_flight;             /* steps whose spans are in nobody's tree right now; under space_lock */
	_Atomic uint64_t purged_bytes;
	_Atomic uint64_t purge_count;
	_Atomic uint64_t longest_ns;
	_Atomic uint64_t steps;
	_Atomic uint64_t longest_step_ns;
	_Atomic bool has_background;            /* a thread calls purge_background */
	_Atomic bool uncommits_at_once;         /* what was given back is, not only what has decayed */
	_Atomic bool uncommit_due;              /* there may be something to uncommit */
} purge = { .retain_bytes = 16 * MIB, .retain_share = 32, .retain_most = UINT64_MAX, .decay_ms = 1000,
	    .density = DENSITY_ONE };

_Atomic bool purge_held;

#define LOAD(field) atomic_load_explicit(&purge.field, memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&purge.field, value, memory_order_relaxed)

void purge_configure(uint64_t retain_bytes, uint64_t retain_percent, uint64_t retain_most, uint64_t decay_ms)
{
	STORE(retain_bytes, retain_bytes);
	STORE(retain_share, ((retain_percent << SHARE_LOG2) + 50) / 100);
	STORE(retain_most, retain_most);
	STORE(decay_ms, decay_ms);
	STORE(credit, 0);
	STORE(density, DENSITY_ONE);
	STORE(taken_again_seen, span_taken_again_units());
	STORE(next_tick_ms, 0);
	STORE(aged_left, false);
}

void purge_set_uncommit(bool at_once)
{
	STORE(uncommits_at_once, at_once);
	region_expect_limits(at_once);
}

void purge_set_retain(uint64_t retain_bytes)
{
	STORE(retain_bytes, retain_bytes);
}

/* The largest value that was ever noted stays. */
static void note_longest(_Atomic uint64_t *longest, uint64_t ns)
{
	uint64_t seen = atomic_load_explicit(longest, memory_order_relaxed);

	while (ns > seen &&
	       !atomic_compare_exchange_weak_explicit(longest, &seen, ns, memory_order_relaxed, memory_order_relaxed))
		;
}

void purge_note_step(uint64_t began_ns)
{
	atomic_fetch_add_explicit(&purge.steps, 1, memory_order_relaxed);
	note_longest(&purge.longest_step_ns, os_now_ns() - began_ns);
}

static int purge_piece(char *address, size_t bytes)
{
	int error = os_purge(address, bytes);

	if (error != 0) {
		STORE(calls_to_skip, CALLS_AFTER_REFUSAL);
		return error;
	}
	atomic_fetch_add_explicit(&purge.purged_bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&purge.purge_count, 1, memory_order_relaxed);
	return 0;
}

static size_t step_bytes(void)
{
	return max_size(LOAD(quick_bytes), PURGE_STEP_BYTES);
}

static void step_learn(size_t bytes, uint64_t took_ns)
{
	if (took_ns > SLOW_NS)
		STORE(quick_bytes, 0);
	else if (took_ns < QUICK_NS && bytes >= step_bytes())
		STORE(quick_bytes, min_size(2 * bytes, PURGE_STEP_BYTES_MAX));
}

static int purge_timed(void *address, size_t bytes, uint64_t *took_ns)
{
	uint64_t began = os_now_ns();
	uint64_t last = began;
	int error = 0;

	/* In pieces: other threads' page faults may have to wait for the kernel's work on one. */
	for (size_t done = 0, piece; done < bytes && error == 0; done += piece) {
		piece = min_size(bytes - done, step_bytes());
		error = purge_piece((char *)address + done, piece);
		uint64_t now = os_now_ns();
		if (error == 0) {
			note_longest(&purge.longest_ns, now - last);
			step_learn(piece, now - last);
		}
		last = now;
	}
	*took_ns = last - began;
	return error;
}

int purge_range(void *address, size_t bytes)
{
	uint64_t took_ns;

	return purge_timed(address, bytes, &took_ns);
}

static COLD size_t retained_under_pressure(size_t retain)
{
	if (pressure_level() != PRESSURE_SOME)
		return 0;
	return min_size(min_size(retain, RETAIN_BYTES_UNDER_PRESSURE), LOAD(retain_most));
}

size_t purge_retained_max(void)
{
	uint64_t retain = LOAD(retain_bytes);
	uint64_t used = span_used_units() * UNIT_BYTES;
	uint64_t in_slabs = LOAD(free_in_slabs);
	uint64_t live = used > in_slabs ? used - in_slabs : 0;

	if (LOAD(decay_ms) == 0 || retain == 0)
		return 0;
	if (UNLIKELY(pressure_level() != PRESSURE_NONE))
		return retained_under_pressure(retain);
	uint64_t share = (live >> SHARE_LOG2) * LOAD(retain_share);
	uint64_t most = (retain > share ? retain : share);
	uint64_t credit = LOAD(credit);
	most = most > UINT64_MAX - credit ? UINT64_MAX : most + credit;
	return most < LOAD(retain_most) ? most : LOAD(retain_most);
}

void purge_credit(size_t bytes)
{
	/* No more than has been in use of late: what a program's blocks that come and go can need. More address space if
	 * large parts of it are never touched. */
	size_t most = LOAD(used_peak) * DENSITY_ONE / LOAD(density);
	STORE(credit, min_size(LOAD(credit) + bytes * CREDIT_FACTOR, most));
}

void purge_set_free_in_slabs(size_t bytes)
{
	STORE(free_in_slabs, bytes);
}

static void learn(bool ticked)
{
	size_t used = span_used_units() * UNIT_BYTES;
	size_t peak = LOAD(used_peak);

	if (ticked) {
		peak -= peak / 8;
		STORE(credit, LOAD(credit) - LOAD(credit) / 8);
		lock_take(&space_lock);
		span_forget_given_back();
		lock_release(&space_lock);
	}
	if (ticked || used > peak)
		STORE(used_peak, max_size(used, peak));
	size_t seen = LOAD(taken_again_seen);
	size_t again = span_taken_again_units();
	if (UNLIKELY(again > seen) &&
	    atomic_compare_exchange_strong_explicit(&purge.taken_again_seen, &seen, again, memory_order_relaxed,
	                                            memory_order_relaxed))
		purge_credit((again - seen) * UNIT_BYTES);
}

size_t purge_weigh(size_t units, uint64_t took_ns)
{
	size_t unit_ns = PURGE_PAGE_NS * (UNIT_BYTES / os_page_bytes());
	/* Huge pages go faster than can be told. */
	size_t there = huge_is_wanted() ? units : min_size(took_ns / unit_ns, units);
	size_t density = LOAD(density) - LOAD(density) / DENSITY_PURGES + there * DENSITY_ONE / units / DENSITY_PURGES;

	STORE(density, (uint32_t)max_size(density, DENSITY_MIN));
	return there;
}

/* A step that began then has given something back. */
static void note_given_back(uint64_t began_ns)
{
	purge_note_step(began_ns);
	if (LOAD(uncommits_at_once))
		STORE(uncommit_due, true);
}

/* Purges, and returns how many units' worth of memory seems to have been there. */
static size_t purge_and_weigh(void *address, size_t bytes, bool *refused)
{
	uint64_t took;

	*refused = purge_timed(address, bytes, &took) != 0;
	return *refused ? 0 : purge_weigh(bytes >> UNIT_LOG2, took);
}

bool purge_before_release(void *address, size_t bytes)
{
	/* The first test is cheap, and enough for most. */
	enum pressure pressure = pressure_level();
	bool stays = (bytes <= LOAD(retain_bytes) && bytes <= LOAD(retain_most) && pressure == PRESSURE_NONE) ||
	             bytes <= purge_retained_max() ||
	             (LOAD(has_background) && bytes > PURGE_STEP_BYTES && pressure != PRESSURE_MUCH);
	bool refused;

	if ((stays && LOAD(decay_ms) != 0) || purge_is_held())
		return false;
	uint64_t began = os_now_ns();
	size_t units = purge_and_weigh(address, bytes, &refused);
	if (refused)
		return false;
	lock_take(&space_lock);
	span_note_given_back(units);
	lock_release(&space_lock);
	note_given_back(began);
	return true;
}

/* What goes by itself: whole huge pages where they are wanted, unless memory is short. */
static size_t piece_units(void)
{
	return huge_is_wanted() && pressure_level() == PRESSURE_NONE ? HUGE_BYTES / UNIT_BYTES : 1;
}

/* One step: takes runs of dirty units out of the free spans, drops their memory without a lock, puts them back clean.
 * Returns how many bytes, 0 if there was nothing to take or the kernel refused. */
static size_t purge_step(bool aged_only, size_t piece_units, size_t *resident, size_t max_bytes)
{
	struct span_range ranges[PURGE_STEP_RUNS];
	size_t count = 0;
	size_t units_left = max_size(max_bytes >> UNIT_LOG2, 1);
	size_t purged = 0;
	size_t was_there = 0;
	size_t costly_units = 0;
	uint64_t began = os_now_ns();
	struct span *span;

	lock_take(&space_lock);
	while (!LOAD(paused) && count < PURGE_STEP_RUNS && units_left > 0 &&
	       (span = span_find_dirty(aged_only, piece_units)) != NULL &&
	       span_take_dirty(span, aged_only, piece_units, units_left, &ranges[count]))
		units_left -= min_size(ranges[count++].units, units_left);
	STORE(in_flight, LOAD(in_flight) + 1);
	lock_release(&space_lock);

	for (size_t i = 0; i < count; i++) {
		size_t bytes = ranges[i].units * UNIT_BYTES;
		size_t there = resident != NULL ? os_resident_bytes((void *)ranges[i].start, bytes) : 0;
		bool refused;
		costly_units += purge_and_weigh((void *)ranges[i].start, bytes, &refused);
		was_there += refused ? 0 : there;
		ranges[i].dirty_units = refused ? ranges[i].units : 0;
		purged += refused ? 0 : bytes;
	}
	lock_take(&space_lock);
	for (size_t i = 0; i < count; i++)
		span_release_mapped(ranges[i].start, ranges[i].units, 0, ranges[i].dirty_units > 0);
	span_note_given_back(costly_units);
	/* Not below 0: a handler that forked may have interrupted this step, and counted anew. */
	STORE(in_flight, LOAD(in_flight) - (LOAD(in_flight) > 0));
	lock_release(&space_lock);
	if (resident != NULL)
		*resident += was_there;
	if (purged > 0)
		note_given_back(began);
	return purged;
}

/* Takes pieces of clean units out of the free spans, uncommits them without a lock, puts them back. False if there was
 * nothing to take or the kernel refused. */
static bool uncommit_step(size_t max_units)
{
	struct span_range range;

	lock_take(&space_lock);
	bool found = !LOAD(paused) && span_take_clean(max_units, &range);
	size_t bytes = found ? range.units * UNIT_BYTES : 0;
	STORE(in_flight, LOAD(in_flight) + found);
	/* Clean, though they look used. */
	limit_note((size_t)0 - bytes);
	lock_release(&space_lock);
	if (!found)
		return false;
	int error = huge_uncommit((void *)range.start, bytes);
	lock_take(&space_lock);
	struct region *region = region_of((void *)range.start);
	if (error == 0)
		region_note_uncommitted(region, region_unit(region, range.start), range.units);
	span_release_mapped(range.start, range.units, 0, false);
	limit_note(bytes);
	STORE(in_flight, LOAD(in_flight) - (LOAD(in_flight) > 0));
	lock_release(&space_lock);
	return error == 0;
}

static size_t dirty_bytes(void)
{
	return span_dirty_units() * UNIT_BYTES;
}

static bool tick_is_due(uint64_t now)
{
	uint64_t due = LOAD(next_tick_ms);
	uint64_t period = LOAD(decay_ms) / TICKS_PER_DECAY;

	return now >= due &&
	       atomic_compare_exchange_strong_explicit(&purge.next_tick_ms, &due, now + (period > 0 ? period : 1),
	                                               memory_order_relaxed, memory_order_relaxed);
}

/* What had aged has gone: what is dirty now is next. */
static void age(void)
{
	STORE(aged_left, false);
	STORE(uncommit_due, true);
	lock_take(&space_lock);
	span_age();
	lock_release(&space_lock);
}

void purge_tick(void)
{
	size_t dirty = dirty_bytes();

	learn(false);
	/* No step begins now; the next slow path goes on. */
	if (UNLIKELY(LOAD(paused)))
		return;
	if (UNLIKELY(LOAD(uncommit_due)) && !uncommit_step(UNCOMMIT_STEP_UNITS))
		STORE(uncommit_due, false);
	if (dirty == 0) {
		if (UNLIKELY(LOAD(aged_left)))
			age();
		return;
	}
	uint32_t skip = LOAD(calls_to_skip);
	if (UNLIKELY(skip > 0)) {
		STORE(calls_to_skip, skip - 1);
		return;
	}
	uint64_t retain = purge_retained_max();
	/* Not for each slab that becomes empty: a call to the kernel costs as much as it frees. */
	if (dirty > retain + min_size(retain / SLACK_FRACTION, SLACK_BYTES_MAX)) {
		size_t excess = min_size(dirty - retain, PURGE_STEP_BYTES);
		if (purge_step(true, piece_units(), NULL, excess) == 0 && purge_step(false, piece_units(), NULL, excess) == 0 &&
		    huge_is_wanted())
			STORE(calls_to_skip, CALLS_WITHOUT_PIECES);
		return;
	}
	/* Counted without care for other threads: only how often matters. */
	uint32_t calls = LOAD(calls);
	STORE(calls, calls + 1);
	if (calls % CALLS_PER_LOOK == 0 && tick_is_due(os_now_ms())) {
		STORE(aged_left, true);
		learn(true);
	}
	if (!LOAD(aged_left))
		return;
	if (purge_step(true, piece_units(), NULL, PURGE_STEP_BYTES) == 0)
		age();
}

void purge_set_background(bool there_is)
{
	STORE(has_background, there_is);
}

static void uncommit_what_is_due(void)
{
	while (LOAD(uncommit_due))
		if (!uncommit_step(UNCOMMIT_STEP_UNITS))
			STORE(uncommit_due, false);
}

void purge_background(void)
{
	size_t dirty;

	if (LOAD(paused))
		return;
	uncommit_what_is_due();
	if (dirty_bytes() == 0)
		return;
	STORE(calls_to_skip, 0);
	while ((dirty = dirty_bytes()) > purge_retained_max())
		if (purge_step(false, piece_units(), NULL, min_size(dirty - purge_retained_max(), PURGE_STEP_BYTES)) == 0)
			break;
	if (!tick_is_due(os_now_ms()) && !LOAD(aged_left))
		return;
	learn(true);
	while (purge_step(true, piece_units(), NULL, PURGE_STEP_BYTES) > 0)
		;
	age();
	uncommit_what_is_due();
}

bool purge_is_needed(void)
{
	if (dirty_bytes() == 0 || piece_units() == 1)
		return dirty_bytes() > 0;
	lock_take(&space_lock);
	bool found = span_find_dirty(false, piece_units()) != NULL;
	lock_release(&space_lock);
	return found;
}

bool purge_is_in_flight(void)
{
	DCHECK(lock_is_held(&space_lock));
	return LOAD(in_flight) > 0;
}

void purge_pause(bool pause)
{
	STORE(paused, pause);
}

void purge_fork_child(void)
{
	STORE(in_flight, 0);
	STORE(paused, false);
	region_fork_child();
	atomic_store_explicit(&purge_held, true, memory_order_relaxed);
}

/* True if another thread forks, and steps may begin again after a pause. */
static bool fork_waited(unsigned *waits)
{
	if (!LOAD(paused) || ++*waits > PAUSES_MAX)
		return false;
	os_pause();
	return true;
}

static size_t purge_down_to(size_t keep_bytes, size_t *resident)
{
	size_t purged = 0;
	unsigned waits = 0;
	size_t dirty;

	while ((dirty = dirty_bytes()) > keep_bytes) {
		size_t step = purge_step(false, 1, resident, min_size(dirty - keep_bytes, step_bytes()));
		purged += step;
		if (step == 0 && !fork_waited(&waits))
			break;
	}
	while (uncommit_step(UNCOMMIT_ALL_STEP_UNITS) || fork_waited(&waits))
		;
	return purged;
}

size_t purge_all(size_t keep_bytes)
{
	size_t resident = 0;

	purge_down_to(keep_bytes, &resident);
	return resident;
}

size_t purge_all_uncounted(size_t keep_bytes)
{
	return purge_down_to(keep_bytes, NULL);
}

bool purge_for(size_t bytes)
{
	size_t excess = limit_excess(bytes);
	bool found = excess == 0 || dirty_bytes() > 0;

	/* Without an excess the kernel has refused, for which only what is uncommitted counts. With one, so much and no more: down
	 * to a level it could go on for ever, for others that free and allocate (model/limit.pml). */
	if (excess == 0)
		purge_all_uncounted(0);
	for (size_t step; excess > 0 && (step = purge_step(false, 1, NULL, min_size(excess, step_bytes()))) > 0;)
		excess -= min_size(excess, step);
	for (unsigned waits = 0; LOAD(in_flight) > 0 && waits < PAUSES_MAX; waits++) {
		os_pause();
		found = true;
	}
	return found;
}

struct purge_figures purge_figures(void)
{
	return (struct purge_figures){ .purged_bytes = LOAD(purged_bytes),
		                       .purge_count = LOAD(purge_count),
		                       .longest_ns = LOAD(longest_ns),
		                       .steps = LOAD(steps),
		                       .longest_step_ns = LOAD(longest_step_ns) };
}

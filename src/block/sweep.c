/* Sweeps: see sweep.h. */
#include "block/sweep.h"

#include "base/port.h"
#include "os/os.h"
#include "space/huge.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "space/span.h"

/* One step: so many slabs, or so many bytes given back. */
#define STEP_SLABS 32
#define STEP_BYTES (1 * MIB)
/* Slabs with memory that the program has locked, say, before a sweep gives up. */
#define REFUSALS_MAX 16
/* Units that a step may look at to find them. */
#define STEP_LOOKS 4096
/* Sweeps to a decay_ms: what one has found free, and the next one still, goes. */
#define SWEEPS_PER_DECAY 2
/* Slow paths between two looks at the clock. */
#define CALLS_PER_LOOK 64
/* A sweep is due when so much has been taken and freed since the last one: at least this, and a part of what is in use,
 * a smaller one while much is known to be free. What a sweep costs (0.1 to 0.3 us for a slab) is little beside that. */
#define MOVED_BYTES_MIN (16 * MIB)
#define MOVED_FRACTION 4
#define MOVED_FRACTION_MUCH_FREE 8
/* In a tear-down, when this part of what may be retained has become free, and at least so much. */
#define TORN_FRACTION 2
#define TORN_BYTES_MIN (4 * MIB)
/* When more than this part of what sweeps gave back was needed again, they give back too much. */
#define REFAULTED_FRACTION 2
/* Frees outnumber what is taken by so much: a program tears down, and will not want it back soon. */
#define TEAR_DOWN_FACTOR 8

static struct {
	_Atomic uint64_t decay_ms;
	_Atomic uint64_t next_ms;               /* when a sweep is due by time */
	_Atomic uint32_t calls;
	_Atomic bool running;                   /* a sweep has begun and not ended */
	_Atomic uint32_t busy;                  /* somebody is in a step; what follows is his */
	enum slab_sweep how;
	size_t region;                          /* where it goes on */
	size_t unit;
	unsigned refusals;                      /* of the kernel's, so far */
	struct slab_swept found;                /* so far */
	uint64_t refaulted_seen;                /* at the end of the last sweep */
	uint64_t given_back_seen;
	uint64_t refaulted_lately;
	uint64_t given_back_lately;
	/* Since the last sweep's end. */
	_Atomic size_t taken_bytes;
	_Atomic size_t freed_bytes;
	_Atomic size_t moved_due_bytes;         /* so much taken and freed makes the next one due */
	_Atomic size_t last_left_bytes;
	_Atomic uint64_t given_back_bytes;
	_Atomic uint64_t sweeps;
} sweep = { .decay_ms = 1000, .moved_due_bytes = MOVED_BYTES_MIN };

_Atomic uint32_t sweep_sleeper;

#define LOAD(field) atomic_load_explicit(&sweep.field, memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&sweep.field, value, memory_order_relaxed)
#define ADD(field, value) atomic_fetch_add_explicit(&sweep.field, value, memory_order_relaxed)

void sweep_configure(uint64_t decay_ms)
{
	STORE(decay_ms, decay_ms);
	STORE(next_ms, 0);
}

void sweep_note(size_t taken_bytes, size_t freed_bytes)
{
	ADD(taken_bytes, taken_bytes);
	ADD(freed_bytes, freed_bytes);
}

/* Free pages in slabs, as far as we know. */
static size_t free_estimate(void)
{
	size_t more = LOAD(last_left_bytes) + LOAD(freed_bytes);
	size_t taken = LOAD(taken_bytes);

	return more > taken ? more - taken : 0;
}

/* ---- A step ---- */

/* Whether there is something to find in a slab that nobody has claimed: known free blocks, or ones not counted yet. */
READS_STALE static bool is_worthwhile(const struct span *slab)
{
	return slab->listed || slab->free_count > 0 || slab->returns_left != slab->returns_granted ||
	       atomic_load_explicit(&slab->notified, memory_order_relaxed) != 0;
}

static void add(struct slab_swept *total, struct slab_swept swept)
{
	total->dropped_bytes += swept.dropped_bytes;
	total->resident_bytes += swept.resident_bytes;
	total->left_bytes += swept.left_bytes;
	total->away_bytes += swept.away_bytes;
	if (total->began_ns == 0)
		total->began_ns = swept.began_ns;
}

/* How many units to go on by from this one: what starts here is passed over whole, as far as a look at it tells that may be
 * stale; most of a region may be one large block. `slab`: it is one, and this its first unit; else NULL. */
READS_STALE static size_t look(const struct region *region, size_t unit, struct span **slab)
{
	uintptr_t address = region->base + unit * UNIT_BYTES;
	struct span *span = region_span(region, address);

	*slab = NULL;
	if (span->start != address)
		return 1;
	if (span->kind == SPAN_SLAB)
		*slab = span;
	return max_size(span->units, 1);
}

/* False if the kernel refuses. */
READS_STALE static bool visit(const struct region *region, size_t unit, struct span *slab, enum slab_sweep how, bool count,
                              struct slab_swept *total)
{
	uintptr_t address = region->base + unit * UNIT_BYTES;
	struct slab_swept swept = { 0 };

	if (!is_worthwhile(slab) || !claim_try(slab))
		return true;
	/* Under the claim it can't be released; but it may have been before. */
	if (slab->kind == SPAN_SLAB && slab->start == address && region_span(region, address) == slab)
		swept = slab_sweep(slab, how, count);
	claim_release(slab);
	add(total, swept);
	return !swept.refused;
}

/* Whether there is more to visit. */
static bool step(size_t slabs_max, size_t bytes_max, bool count, struct slab_swept *total)
{
	size_t slabs = 0;

	for (size_t looks = STEP_LOOKS; sweep.region < region_count(); sweep.region++, sweep.unit = 0) {
		const struct region *region = region_at(sweep.region);
		size_t end = atomic_load_explicit(&region->committed_bytes, memory_order_acquire) >> UNIT_LOG2;
		for (size_t units; sweep.unit < end; sweep.unit += units) {
			struct span *slab;
			if (looks-- == 0 || slabs >= slabs_max || total->dropped_bytes >= bytes_max)
				return true;
			units = look(region, sweep.unit, &slab);
			if (slab != NULL && !visit(region, sweep.unit, slab, sweep.how, count, total) &&
			    ++sweep.refusals == REFUSALS_MAX)
				return false;
			slabs += slab != NULL;
		}
	}
	return false;
}

static void begin(enum slab_sweep how)
{
	sweep.how = how;
	sweep.region = sweep.unit = 0;
	sweep.found = (struct slab_swept){ 0 };
	sweep.refusals = 0;
	STORE(taken_bytes, 0);
	STORE(freed_bytes, 0);
	STORE(running, true);
}

static void next_in_time(uint64_t now)
{
	STORE(next_ms, now + max_size(LOAD(decay_ms) / SWEEPS_PER_DECAY, 1));
}

static void end(void)
{
	uint64_t refaulted = slab_refaulted_bytes();
	uint64_t given_back = LOAD(given_back_bytes);

	/* Of late: what is older counts by half with each sweep. */
	sweep.refaulted_lately = sweep.refaulted_lately / 2 + (refaulted - sweep.refaulted_seen);
	sweep.given_back_lately = sweep.given_back_lately / 2 + (given_back - sweep.given_back_seen);
	if (sweep.refaulted_lately > sweep.given_back_lately / REFAULTED_FRACTION)
		purge_credit(refaulted - sweep.refaulted_seen);
	sweep.refaulted_seen = refaulted;
	sweep.given_back_seen = given_back;
	STORE(last_left_bytes, sweep.found.left_bytes);
	purge_set_free_in_slabs(sweep.found.left_bytes + sweep.found.away_bytes);
	bool much = sweep.found.left_bytes > purge_retained_max() / 2;
	STORE(moved_due_bytes, max_size(MOVED_BYTES_MIN, span_used_units() * UNIT_BYTES /
	                                                         (much ? MOVED_FRACTION_MUCH_FREE : MOVED_FRACTION)));
	ADD(sweeps, 1);
	STORE(running, false);
}

static void advance(size_t slabs_max, size_t bytes_max, bool count, struct slab_swept *total)
{
	struct slab_swept swept = { 0 };
	bool more = step(slabs_max, bytes_max, count, &swept);

	add(&sweep.found, swept);
	add(total, swept);
	ADD(given_back_bytes, swept.dropped_bytes);
	if (swept.dropped_bytes > 0)
		purge_note_step(swept.began_ns);
	if (!more)
		end();
}

/* ---- When ---- */

/* Whether a sweep is to start, and which. */
static bool is_due(enum slab_sweep *how)
{
	size_t taken = LOAD(taken_bytes);
	size_t freed = LOAD(freed_bytes);

	if (taken + freed >= LOAD(moved_due_bytes)) {
		*how = SLAB_SWEEP_AGED;
		return true;
	}
	if (UNLIKELY(freed >= TORN_BYTES_MIN) && taken < freed / TEAR_DOWN_FACTOR) {
		size_t most = purge_retained_max();
		*how = SLAB_SWEEP_ALL;
		if (freed - taken >= most / TORN_FRACTION && free_estimate() + span_dirty_units() * UNIT_BYTES > most)
			return true;
	}
	uint32_t calls = LOAD(calls);
	STORE(calls, calls + 1);
	if (calls % CALLS_PER_LOOK != 0 || LOAD(last_left_bytes) + freed == 0)
		return false;
	*how = SLAB_SWEEP_AGED;
	return os_now_ms() >= LOAD(next_ms);
}

/* While memory is short nothing waits until it has aged. Else, where huge pages are wanted, what is free in slabs stays:
 * none would survive. */
static enum slab_sweep as_things_are(enum slab_sweep how)
{
	if (pressure_level() != PRESSURE_NONE)
		return SLAB_SWEEP_ALL;
	return huge_is_wanted() ? SLAB_SWEEP_LOOK : how;
}

/* See scavenger_run, and model/scavenger.pml. */
static COLD void wake(void)
{
	uint32_t asleep = SLEEPER_ASLEEP;

	if (atomic_compare_exchange_strong_explicit(&sweep_sleeper, &asleep, SLEEPER_AWAKE, memory_order_release,
	                                            memory_order_relaxed))
		port_futex_wake(&sweep_sleeper, 1);
}

void sweep_tick(void)
{
	enum slab_sweep how = SLAB_SWEEP_AGED;
	struct slab_swept swept = { 0 };

	if (UNLIKELY(purge_is_held()))
		return;
	if (UNLIKELY(atomic_load_explicit(&sweep_sleeper, memory_order_relaxed) == SLEEPER_ASLEEP))
		wake();
	purge_tick();
	if (LIKELY(!LOAD(running)) && LIKELY(!is_due(&how)))
		return;
	if (!epoch_try(&sweep.busy))
		return;
	if (!LOAD(running)) {
		uint64_t now = os_now_ms();
		bool by_time = now >= LOAD(next_ms);
		/* Under what may be retained only time gives back. */
		if (how == SLAB_SWEEP_AGED && !by_time &&
		    LOAD(last_left_bytes) + span_dirty_units() * UNIT_BYTES <= purge_retained_max())
			how = SLAB_SWEEP_LOOK;
		if (by_time)
			next_in_time(now);
		begin(as_things_are(how));
	}
	advance(STEP_SLABS, STEP_BYTES, false, &swept);
	epoch_release(&sweep.busy);
}

bool sweep_is_needed(void)
{
	bool left = LOAD(last_left_bytes) > 0 && as_things_are(SLAB_SWEEP_AGED) != SLAB_SWEEP_LOOK;

	return LOAD(taken_bytes) + LOAD(freed_bytes) > 0 || left || LOAD(running) || purge_is_needed();
}

bool sweep_background(void)
{
	struct slab_swept swept = { 0 };
	size_t moved = LOAD(taken_bytes) + LOAD(freed_bytes);

	purge_background();
	/* By time alone, and by the same clock as the program's own slow paths: what another sweep has just noted is not
	 * old yet. Unless memory is short. */
	uint64_t now = os_now_ms();
	bool due = now >= LOAD(next_ms) || (pressure_level() != PRESSURE_NONE && (moved > 0 || LOAD(last_left_bytes) > 0));
	if (due && epoch_try(&sweep.busy)) {
		if (!LOAD(running)) {
			next_in_time(now);
			begin(as_things_are(SLAB_SWEEP_AGED));
		}
		while (LOAD(running))
			advance(SIZE_MAX, SIZE_MAX, false, &swept);
		epoch_release(&sweep.busy);
	}
	return moved > 0 || swept.dropped_bytes > 0 || sweep_is_needed();
}

size_t sweep_all(enum slab_sweep how, bool count)
{
	struct slab_swept swept = { 0 };

	while (!epoch_try(&sweep.busy))
		os_pause();
	begin(how);
	while (LOAD(running))
		advance(SIZE_MAX, SIZE_MAX, count, &swept);
	epoch_release(&sweep.busy);
	return count ? swept.resident_bytes : swept.dropped_bytes;
}

struct sweep_figures sweep_figures(void)
{
	return (struct sweep_figures){ .given_back_bytes = LOAD(given_back_bytes),
		                       .refaulted_bytes = slab_refaulted_bytes(),
		                       .sweeps = LOAD(sweeps),
		                       .left_bytes = LOAD(last_left_bytes) };
}

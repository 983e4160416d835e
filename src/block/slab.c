/* Slabs: see slab.h. */
#include "block/slab.h"

#include <string.h>

#include "base/check.h"
#include "block/ledger_word.h"
#include "block/secure.h"
#include "os/os.h"
#include "space/meta.h"
#include "space/purge.h"
#include "space/span.h"

/* Headers with their ledgers, waiting for the next slab of their class. Under space_lock. A retired header's ledger is
 * as a new one's: FREE and TAIL where they belong, so a new slab costs no set-up. */
static struct span *retired[CLASS_COUNT];

/* Pages as steps of 4 KiB on every machine: this is about the indices of caches and TLBs. 1,000 live blocks of 20,000
 * bytes cost 1.4 ns a touch with lines alone, 0.55 with pages as well (libc 0.6). Takes address space, no memory. */
#define PAGE_COLOUR_BYTES 4096
#define PAGE_COLOURS 7

/* Counts slabs made, to give each the next colour. Under space_lock. */
static size_t colour_counter;

/* Given back, and handed out again since. */
static _Atomic uint64_t refaulted_bytes;

/* How far into its span the next slab of a class starts: lines, and pages where blocks are larger than one. */
static size_t colour_next(const struct size_class *size_class)
{
	size_t count = colour_counter++;
	size_t lines = count % (size_class->colour_lines + 1u);
	bool coloured = size_class->colour_lines > 0;
	size_t pages = coloured && size_class->size > PAGE_COLOUR_BYTES ? count % PAGE_COLOURS : 0;

	return lines * CACHE_LINE_BYTES + pages * PAGE_COLOUR_BYTES;
}

/* What guards take of a slab's span, in front of its blocks and behind them. */
static size_t front_guard_bytes(void)
{
	return secure.guards == SECURE_GUARDS_AROUND ? secure.guard_bytes : 0;
}

static size_t back_guard_bytes(void)
{
	return secure.guards != SECURE_GUARDS_NONE ? secure.guard_bytes : 0;
}

/* How far into its span the first block lies: behind a guard, and aligned classes' blocks where their alignment is kept. */
static size_t first_offset(unsigned class_index)
{
	const struct size_class *size_class = &size_classes[class_index];
	size_t colour = colour_next(size_class);

	if (class_index < CLASS_FIRST_ALIGNED)
		return front_guard_bytes() + colour;
	return ROUND_UP(front_guard_bytes(), (size_t)size_class->size);
}

/* A colour belongs to the header for ever: the ledger's TAIL bytes depend on it. */
static struct span *header_make(unsigned class_index)
{
	const struct size_class *size_class = &size_classes[class_index];
	struct span *slab = meta_alloc(sizeof(*slab) + size_class->ledger_bytes + sizeof(uint64_t) + secure_slack_bytes(class_index));

	if (slab == NULL)
		return NULL;
	size_t offset = first_offset(class_index);
	size_t covered = (offset + size_class->size - 1) / size_class->size;
	size_t before = covered * size_class->size - offset;
	slab->kind = SPAN_RETIRED;
	slab->secured = secure.on;
	slab->class_index = (uint8_t)class_index;
	slab->block_bytes = size_class->size;
	slab->ledger = (ledger_byte *)(slab + 1);
	slab->first_index = (uint16_t)covered;
	slab->end_index = (uint16_t)((size_class->units * UNIT_BYTES - back_guard_bytes() + before) / size_class->size);
	slab->base = (uintptr_t)0 - before;             /* relative to the span until there is one */
	slab->units = size_class->units;
	atomic_store_explicit(&slab->owner, OWNER_NONE, memory_order_relaxed);
	DCHECK(slab->end_index < size_class->ledger_bytes);
	for (size_t i = 0; i < slab->first_index; i++)
		ledger_set(&slab->ledger[i], LEDGER_TAIL);
	for (size_t i = slab->end_index; i < size_class->ledger_bytes; i++)
		ledger_set(&slab->ledger[i], LEDGER_TAIL);
	return slab;
}

/* A header of the class whose claim the caller holds from now on. Retired ones whose claim is taken are passed by: a
 * trim has claimed them as slabs, and is about to see that they no longer are. */
static struct span *header_take(unsigned class_index)
{
	for (struct span **link = &retired[class_index]; *link != NULL; link = &(*link)->list.next) {
		struct span *slab = *link;
		if (claim_try(slab)) {
			*link = slab->list.next;
			return slab;
		}
	}
	struct span *slab = header_make(class_index);
	if (slab != NULL)
		CHECK(claim_try(slab));
	return slab;
}

static uintptr_t block_address(const struct span *slab, size_t index)
{
	return slab->base + index * slab->block_bytes;
}

/* ---- Granules ---- */

#define GRANULES_MAX 64

size_t slab_granule_bytes(const struct span *slab)
{
	return max_size(os_page_bytes(), slab->units * UNIT_BYTES / GRANULES_MAX);
}

static size_t granule_count(const struct span *slab)
{
	return slab->units * UNIT_BYTES / slab_granule_bytes(slab);
}

READS_STALE size_t slab_away_bytes(const struct span *slab)
{
	return (size_t)popcount64(slab->away) * slab_granule_bytes(slab);
}

/* The bits [first, end). */
static uint64_t granule_bits(size_t first, size_t end)
{
	uint64_t below_end = end >= GRANULES_MAX ? ~(uint64_t)0 : ((uint64_t)1 << end) - 1;

	return below_end & ~(((uint64_t)1 << first) - 1);
}

static uint64_t *granules_aged(const struct span *slab)
{
	return (uint64_t *)(void *)(slab->ledger + size_classes[slab->class_index].ledger_bytes);
}

/* The granules that the blocks [first, end) touch. */
static uint64_t granules_of_blocks(const struct span *slab, size_t first, size_t end)
{
	size_t bytes = slab_granule_bytes(slab);

	return granule_bits((block_address(slab, first) - slab->start) / bytes,
	                    (block_address(slab, end) - 1 - slab->start) / bytes + 1);
}

/* The granules that hold no block but FREE ones. */
static uint64_t granules_free(const struct span *slab)
{
	size_t bytes = slab_granule_bytes(slab);
	size_t count = granule_count(slab);
	uint64_t mask = 0;

	for (size_t i = 0; i < count; i++) {
		uintptr_t at = slab->start + i * bytes;
		size_t first = max_size(at <= slab->base ? 0 : (at - slab->base) / slab->block_bytes, slab->first_index);
		size_t end = min_size((at + bytes - 1 - slab->base) / slab->block_bytes + 1, slab->end_index);
		if (first >= end || ledger_count_free(slab->ledger, first, end - first) == end - first)
			mask |= (uint64_t)1 << i;
	}
	return mask;
}

/* Under the claim, after a refill has taken `count` blocks: their granules are there from now on. A block that was
 * handed out before, and whose memory has been given back since, is zero like a fresh one. */
static void granules_return(struct span *slab, struct entry *entries, size_t count, size_t fresh_index)
{
	size_t first = (size_t)(entries[count - 1].state - slab->ledger);
	size_t end = (size_t)(entries[0].state - slab->ledger) + 1;
	uint64_t away = slab->away;
	uint64_t touched = granules_of_blocks(slab, first, end);

	slab->away &= ~touched;
	if (!slab->swept || (away & touched) == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		size_t index = (size_t)(entries[i].state - slab->ledger);
		uint64_t own = granules_of_blocks(slab, index, index + 1);
		if ((own & away) == own)
			ledger_set(entries[i].state, LEDGER_CACHED_ZERO);
	}
	/* What was never touched has not been given back. */
	if (first < fresh_index) {
		uint64_t again = away & touched & granules_of_blocks(slab, first, min_size(end, fresh_index));
		atomic_fetch_add_explicit(&refaulted_bytes, (uint64_t)popcount64(again) * slab_granule_bytes(slab),
		                          memory_order_relaxed);
	}
}

/* ---- Spans of slabs ---- */

/* With random places the span that is next is one of some that were taken: so many of each length, by the units' log2. */
#define PLACES_MAX 8
#define LENGTHS 4
static struct span_range places[LENGTHS][PLACES_MAX];   /* under space_lock; units 0: none */

static bool span_take_random(size_t units, struct span_range *range)
{
	unsigned length = log2_floor(units);
	struct span_range *place = &places[length][chacha_below(&secure_space_random, PLACES_MAX >> length)];
	bool taken = span_take(units, UNIT_BYTES, range);

	if (taken && place->units == 0) {
		*place = *range;
		taken = span_take(units, UNIT_BYTES, range);
	} else if (taken) {
		struct span_range other = *place;
		*place = *range;
		*range = other;
	}
	for (size_t i = 0; !taken && i < PLACES_MAX; i++)
		if (places[length][i].units > 0) {
			*range = places[length][i];
			places[length][i].units = 0;
			taken = true;
		}
	return taken;
}

/* Guards are hints: where the kernel refuses one there is none. Without a lock, under the claim. The header says so first: a
 * fork's child must not release a slab with a guard in it. */
static void guards_make(struct span *slab)
{
	uintptr_t end = slab->start + slab->units * UNIT_BYTES;
	bool around = secure.guards == SECURE_GUARDS_AROUND;

	slab->guards = around ? GUARD_BEHIND | GUARD_BEFORE : GUARD_BEHIND;
	atomic_signal_fence(memory_order_seq_cst);
	if (os_guard_install((void *)(end - secure.guard_bytes), secure.guard_bytes) != 0)
		slab->guards &= (uint8_t)~GUARD_BEHIND;
	if (around && os_guard_install((void *)slab->start, secure.guard_bytes) != 0)
		slab->guards &= (uint8_t)~GUARD_BEFORE;
}

static void guards_remove(struct span *slab)
{
	uintptr_t end = slab->start + slab->units * UNIT_BYTES;

	if ((slab->guards & GUARD_BEHIND) != 0)
		os_guard_remove((void *)(end - secure.guard_bytes), secure.guard_bytes);
	if ((slab->guards & GUARD_BEFORE) != 0)
		os_guard_remove((void *)slab->start, secure.guard_bytes);
	slab->guards = 0;
}

/* ---- Slabs ---- */

struct span *slab_make(unsigned class_index, uintptr_t owner, const void *magazine)
{
	const struct size_class *size_class = &size_classes[class_index];
	struct span_range range;

	lock_take(&space_lock);
	struct span *slab = header_take(class_index);
	if (slab != NULL && !(secure.random ? span_take_random(size_class->units, &range)
	                                    : span_take(size_class->units, UNIT_BYTES, &range))) {
		slab->list.next = retired[class_index];
		retired[class_index] = slab;
		claim_release(slab);
		slab = NULL;
	}
	if (slab != NULL) {
		span_forget_dirty(range.start, range.units);
		slab->base = range.start + (slab->base - slab->start);
		slab->start = range.start;
		slab->born_zero = range.dirty_units == 0;
		slab->free_count = (uint16_t)slab_block_count(slab);
		slab->cursor = slab->fresh_index = slab->first_index;
		slab->listed = false;
		slab->returns_granted = slab->returns_left = 0;
		slab->away = slab->born_zero ? granule_bits(0, granule_count(slab)) : 0;
		slab->swept = false;
		*granules_aged(slab) = 0;
		slab->magazine = (uintptr_t)magazine;
		slab->kind = SPAN_SLAB;
		/* notified and next_notified stay: the header may still be linked on a stack of notifications. */
		/* Sequentially consistent: see heap_forward_orphans. */
		atomic_store_explicit(&slab->owner, owner, memory_order_seq_cst);
		atomic_store_explicit(&slab->multiplier, size_class->multiplier, memory_order_release);
		page_map_set(range.start, range.units, slab);
	}
	lock_release(&space_lock);
	if (slab != NULL && secure.guards != SECURE_GUARDS_NONE)
		guards_make(slab);
	return slab;
}

void slab_release(struct span *slab)
{
	if (slab->guards != 0)
		guards_remove(slab);
	DCHECK(slab_is_valid(slab));
	CHECK(ledger_count_free(slab->ledger, slab->first_index, slab_block_count(slab)) == slab_block_count(slab));
	lock_take(&space_lock);
	atomic_store_explicit(&slab->multiplier, 0, memory_order_release);
	/* Sequentially consistent: see heap_settle, which looks at the token afterwards. */
	atomic_store_explicit(&slab->owner, OWNER_NONE, memory_order_seq_cst);
	slab->kind = SPAN_RETIRED;
	/* Sweeps may have left nothing, where the last free was seen late. */
	span_release(slab->start, slab->units, slab->away != granule_bits(0, granule_count(slab)));
	slab->list.next = retired[slab->class_index];
	retired[slab->class_index] = slab;
	claim_release(slab);
	lock_release(&space_lock);
}

/* Entries for the blocks of a whole word, each below the one before. */
static struct entry *entries_of_word(const struct span *slab, size_t index, struct entry *entry)
{
	uintptr_t block = block_address(slab, index);
	ledger_byte *state = &slab->ledger[index];

	for (size_t i = 0; i < LEDGER_WORD_BYTES; i++, block += slab->block_bytes)
		*--entry = (struct entry){ (void *)block, state + i };
	return entry;
}

size_t slab_refill(struct span *slab, struct entry *entries, size_t wanted)
{
	uint8_t fresh_state = slab->born_zero ? LEDGER_CACHED_ZERO : LEDGER_CACHED;
	size_t fresh_index = slab->fresh_index;
	size_t end = slab->end_index;
	size_t next = slab->cursor;
	struct entry *entry = entries + wanted;

	/* Whole words: a block of another thread's may have become FREE below the cursor, and is as welcome. */
	for (size_t at = ROUND_DOWN(next, LEDGER_WORD_BYTES); at < end && entry != entries; at += LEDGER_WORD_BYTES) {
		size_t missing = (size_t)(entry - entries);
		next = at + LEDGER_WORD_BYTES;
		if (missing >= LEDGER_WORD_BYTES && word_take_whole(slab->ledger, at, fresh_index, fresh_state)) {
			entry = entries_of_word(slab, at, entry);
			continue;
		}
		for (uint64_t taken = word_take(slab->ledger, at, missing, fresh_index, fresh_state); taken != 0; taken &= taken - 1) {
			size_t index = at + (size_t)__builtin_ctzll(taken) / 8;
			*--entry = (struct entry){ (void *)block_address(slab, index), &slab->ledger[index] };
			next = entry == entries ? index + 1 : next;
		}
	}
	/* What was written to the blocks before they became FREE comes before what is done with them now. */
	atomic_thread_fence(memory_order_acquire);
	size_t found = (size_t)(entries + wanted - entry);
	bool exhausted = found < wanted || next >= end;
	slab->cursor = (uint16_t)(exhausted ? end : next);
	slab->fresh_index = (uint16_t)max_size(fresh_index, slab->cursor);
	slab->free_count = !exhausted && slab->free_count > found ? (uint16_t)(slab->free_count - found) : 0;
	if (found < wanted)
		memmove(entries, entry, found * sizeof(*entries));
	if (slab->away != 0 && found > 0)
		granules_return(slab, entries, found, fresh_index);
	return found;
}

size_t slab_count_free(struct span *slab)
{
	size_t count = ledger_count_free(slab->ledger, slab->first_index, slab_block_count(slab));

	slab->free_count = (uint16_t)count;
	slab->cursor = slab->first_index;
	slab->returns_granted = slab->returns_left = 0;
	return count;
}

struct slab_swept slab_sweep(struct span *slab, enum slab_sweep how, bool count)
{
	size_t bytes = slab_granule_bytes(slab);
	uint64_t *aged = granules_aged(slab);
	uint64_t there = granules_free(slab) & ~slab->away;
	uint64_t dropping = how == SLAB_SWEEP_ALL ? there : how == SLAB_SWEEP_AGED ? there & *aged : 0;
	struct slab_swept swept = { 0 };

	for (uint64_t left = dropping; left != 0;) {
		unsigned first = (unsigned)__builtin_ctzll(left);
		uint64_t run = ~(left >> first);
		size_t length = run == 0 ? GRANULES_MAX : (size_t)__builtin_ctzll(run);
		void *address = (void *)(slab->start + first * bytes);
		size_t resident = count ? os_resident_bytes(address, length * bytes) : 0;
		left &= ~granule_bits(first, first + length);
		uint64_t began = swept.began_ns == 0 ? os_now_ns() : swept.began_ns;
		if (purge_range(address, length * bytes) != 0) {
			swept.refused = true;
			break;
		}
		swept.began_ns = began;
		slab->away |= granule_bits(first, first + length);
		swept.dropped_bytes += length * bytes;
		swept.resident_bytes += resident;
		slab->swept = true;
	}
	there &= ~slab->away;
	*aged = there;
	swept.left_bytes = (size_t)popcount64(there) * bytes;
	swept.away_bytes = (size_t)popcount64(slab->away) * bytes;
	return swept;
}

uint64_t slab_refaulted_bytes(void)
{
	return atomic_load_explicit(&refaulted_bytes, memory_order_relaxed);
}

void slab_forget_cached(struct span *slab)
{
	for (size_t i = slab->first_index; i < slab->end_index; i++) {
		uint8_t state = ledger_get(&slab->ledger[i]);
		if (state == LEDGER_CACHED || state == LEDGER_CACHED_ZERO)
			ledger_set_free(&slab->ledger[i]);
	}
	slab->born_zero = false;
	slab->away = 0;
	slab->swept = false;
}

bool slab_is_valid(const struct span *slab)
{
	const struct size_class *size_class = &size_classes[slab->class_index];
	size_t free_blocks = ledger_count_free(slab->ledger, slab->first_index, slab_block_count(slab));
	uintptr_t end = slab->start + slab->units * UNIT_BYTES - back_guard_bytes();

	return slab->kind == SPAN_SLAB && slab->units == size_class->units && slab->block_bytes == size_class->size &&
	       atomic_load_explicit(&slab->multiplier, memory_order_relaxed) == size_class->multiplier &&
	       slab->first_index < slab->end_index && block_address(slab, slab->first_index) >= slab->start &&
	       block_address(slab, slab->end_index) <= end && end - slab->base < (slab->end_index + 1u) * (uintptr_t)size_class->size &&
	       slab->free_count <= free_blocks && slab->fresh_index >= slab->first_index &&
	       (slab->first_index == 0 || ledger_get(&slab->ledger[0]) == LEDGER_TAIL) &&
	       ledger_get(&slab->ledger[slab->end_index]) == LEDGER_TAIL && span_of((void *)slab->start) == slab;
}

/* Slots: see slots.h. */
#include "guard/slots.h"

#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/memcheck.h"
#include "base/text.h"
#include "os/os.h"

/* Page numbers and record numbers have 32 bits. */
#define PAGES_MAX ((size_t)UINT32_MAX)
#define ARENA_BYTES_MIN (16 * MIB)
/* Accessible at a time: an eighth of what there is, within these bounds. */
#define COMMIT_BYTES_MIN (4 * MIB)
#define COMMIT_BYTES_MAX (256 * MIB)
#define TABLE_BYTES_MIN (64 * KIB)
#define LAST_BYTES ((size_t)64)
/* Slots of up to so many pages have lists of their own; above there are eight sizes to a doubling. */
#define EXACT_PAGES ((size_t)64)
#define EXACT_LOG2 6
#define LIST_COUNT 272
/* While guards can't be made any more, so many slots leave the quarantine early for each that is asked for. */
#define RECYCLED_MOST 64
/* After a refusal (locked memory) so many blocks without another are made with room for UNFENCED_BYTES. */
#define REFUSAL_BLOCKS 256

struct last {
	uint32_t record;
	uint32_t number;
	uint32_t count;
	unsigned char bytes[LAST_BYTES];
};

/* A part of the reservation that becomes accessible from its start on, under slots_lock. */
struct table {
	uintptr_t start;
	size_t bytes;
	size_t committed;
};

uintptr_t slots_base;
size_t slots_bytes;
struct lock slots_lock = LOCK_INIT(LOCK_RANK_GUARD);

/* Immutable but for what says otherwise. */
static struct {
	struct slots_settings settings;
	size_t page_bytes;
	unsigned page_log2;
	struct record *records;         /* by number; 0 is nobody's */
	_Atomic uint32_t *index;        /* record number of each page */
	struct last *last;
	_Atomic uint32_t refused;       /* blocks left to expect no guard for */
	_Atomic size_t guards;          /* PROTECTION: made */
	_Atomic bool guards_spent;      /* and no more of them can be had */
	/* slots_lock's: */
	struct table arena_table, record_table, index_table, last_table;
	_Atomic uint32_t used_pages;    /* of the arena; release after the index is written */
	_Atomic uint32_t count;
	_Atomic uint32_t frees;
	uint32_t free_lists[LIST_COUNT];
	uint32_t oldest, newest;        /* quarantine */
	size_t quarantined, quarantined_bytes;
} slots;

/* ---- Reservation and tables ---- */

static size_t table_bytes(size_t arena_bytes, size_t each, size_t pages_per_entry)
{
	return ROUND_UP(((arena_bytes >> slots.page_log2) / pages_per_entry + 2) * each, slots.page_bytes);
}

static bool table_cover(struct table *table, size_t bytes, size_t least)
{
	if (LIKELY(bytes <= table->committed))
		return true;
	if (bytes > table->bytes)
		return false;
	size_t needed = ROUND_UP(bytes - table->committed, slots.page_bytes);
	size_t step = max_size(least, min_size(ROUND_UP(table->committed / 8, slots.page_bytes), COMMIT_BYTES_MAX));
	step = min_size(max_size(step, needed), table->bytes - table->committed);
	if (os_commit((void *)(table->start + table->committed), step) != 0) {
		step = needed;
		if (os_commit((void *)(table->start + table->committed), step) != 0)
			return false;
	}
	if (table != &slots.arena_table)
		memcheck_own((void *)(table->start + table->committed), step);
	table->committed += step;
	return true;
}

/* Lays the parts out one behind the other; returns the bytes of all. */
static size_t lay_out(uintptr_t start, size_t arena_bytes)
{
	uintptr_t at = start;

	slots.record_table = (struct table){ .start = at, .bytes = table_bytes(arena_bytes, sizeof(struct record), 2) };
	at += slots.record_table.bytes;
	slots.index_table = (struct table){ .start = at, .bytes = table_bytes(arena_bytes, sizeof(uint32_t), 1) };
	at += slots.index_table.bytes;
	slots.last_table = (struct table){ .start = at, .bytes = ROUND_UP(slots.settings.last_count * sizeof(struct last), slots.page_bytes) };
	at += slots.last_table.bytes + slots.page_bytes;
	slots.arena_table = (struct table){ .start = at, .bytes = arena_bytes };
	return at + arena_bytes + slots.page_bytes - start;
}

bool slots_init(const struct slots_settings *settings)
{
	slots.settings = *settings;
	slots.page_bytes = os_page_bytes();
	slots.page_log2 = log2_floor(slots.page_bytes);
	size_t bytes = min_size(ROUND_UP(settings->bytes, slots.page_bytes), PAGES_MAX << slots.page_log2);
	char *memory;

	while ((memory = os_reserve_uncharged(lay_out(0, bytes))) == NULL) {
		bytes = ROUND_DOWN(bytes / 2, slots.page_bytes);
		if (bytes < ARENA_BYTES_MIN)
			return false;
	}
	lay_out((uintptr_t)memory, bytes);
	slots.records = (struct record *)slots.record_table.start;
	slots.index = (_Atomic uint32_t *)slots.index_table.start;
	slots.last = (struct last *)slots.last_table.start;
	slots_base = slots.arena_table.start;
	slots_bytes = bytes;
	return true;
}

bool slots_is_table(const void *address)
{
	return slots_bytes != 0 && (uintptr_t)address - slots.record_table.start < slots_base - slots.record_table.start;
}

/* ---- Guards ---- */

static COLD void say_spent(void)
{
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	if (atomic_exchange_explicit(&slots.guards_spent, true, memory_order_relaxed))
		return;
	text_format(&text, "quarry: guard: %u guards are made, more would need more mappings than vm.max_map_count allows: "
	                   "further blocks are checked when they are freed\n",
	            (uint64_t)atomic_load_explicit(&slots.guards, memory_order_relaxed));
	text_write_error(&text);
}

static COLD void say_refused(int error)
{
	static _Atomic bool said;
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	atomic_store_explicit(&slots.refused, REFUSAL_BLOCKS, memory_order_relaxed);
	if (atomic_exchange_explicit(&said, true, memory_order_relaxed))
		return;
	text_format(&text, "quarry: guard: the system refuses a guard (error %u; memory that is locked can't have any): such "
	                   "blocks are checked when they are freed\n", (uint64_t)(unsigned)-error);
	text_write_error(&text);
}

bool slots_fences(void)
{
	uint32_t left = atomic_load_explicit(&slots.refused, memory_order_relaxed);

	switch (slots.settings.guards) {
	case SLOTS_GUARDS_MARKERS:
		if (LIKELY(left == 0))
			return true;
		/* Two threads at once may count one less: it is only what to expect. */
		atomic_store_explicit(&slots.refused, left - 1, memory_order_relaxed);
		return false;
	case SLOTS_GUARDS_PROTECTION:
		return atomic_load_explicit(&slots.guards, memory_order_relaxed) < slots.settings.guards_max;
	default:
		return false;
	}
}

/* Makes guards of pages; `fresh`: they are not next to others of the slot, and count. */
static bool guards_make(uintptr_t start, size_t bytes, bool fresh)
{
	int error;

	if (bytes == 0)
		return true;
	switch (slots.settings.guards) {
	case SLOTS_GUARDS_MARKERS:
		error = os_guard_install((void *)start, bytes);
		if (UNLIKELY(error != 0))
			say_refused(error);
		return error == 0;
	case SLOTS_GUARDS_PROTECTION:
		if (fresh && atomic_fetch_add_explicit(&slots.guards, 1, memory_order_relaxed) >= slots.settings.guards_max) {
			atomic_fetch_sub_explicit(&slots.guards, 1, memory_order_relaxed);
			say_spent();
			return false;
		}
		if (os_protect_none((void *)start, bytes) == 0)
			return true;
		if (fresh)
			atomic_fetch_sub_explicit(&slots.guards, 1, memory_order_relaxed);
		return false;
	default:
		return false;
	}
}

static bool guards_take_away(uintptr_t start, size_t bytes)
{
	if (slots.settings.guards == SLOTS_GUARDS_MARKERS)
		return os_guard_remove((void *)start, bytes) == 0;
	return os_commit((void *)start, bytes) == 0;
}

static uintptr_t page_address(size_t page)
{
	return slots_base + (page << slots.page_log2);
}

/* A slot that has never had its guards, or whose pages stayed accessible. */
static bool fence(struct record *record, uintptr_t start, uintptr_t end)
{
	uintptr_t slot_start = page_address(record->slot_page);
	uintptr_t guard_end = page_address(record->slot_page + record->slot_pages + 1);
	bool fresh = !record->fenced;

	return guards_make(end, guard_end - end, fresh) && guards_make(slot_start, start - slot_start, fresh);
}

bool slot_open(struct record *record, size_t page, size_t pages)
{
	uintptr_t start = page_address(page);
	uintptr_t end = page_address(page + pages);

	/* Of a slot that was used before some pages may be guards even if not all that should be are. */
	if (record->used && slots.settings.guards != SLOTS_GUARDS_NONE && !guards_take_away(start, end - start))
		return false;
	if (!record->fenced || record->open)
		record->fenced = fence(record, start, end);
	record->open = false;
	record->used = true;
	return true;
}

void slot_close(struct record *record, size_t pages)
{
	uintptr_t start = page_address(record->page);
	size_t bytes = pages << slots.page_log2;

	record->open = !record->fenced || !guards_make(start, bytes, false);
	if (record->open || slots.settings.guards != SLOTS_GUARDS_MARKERS)
		if (os_purge((void *)start, bytes) != 0 && record->open)
			os_zero((void *)start, bytes);
}

/* ---- Lists ---- */

/* The list that slots of so many pages, or a few more, are in; stores how many exactly. */
static unsigned list_of(size_t pages, size_t *slot_pages)
{
	*slot_pages = pages;
	if (pages <= EXACT_PAGES)
		return (unsigned)pages;
	*slot_pages = ROUND_UP(pages, (size_t)1 << (log2_floor(pages) - 3));
	unsigned log2 = log2_floor(*slot_pages);
	return (unsigned)(EXACT_PAGES + (size_t)(log2 - EXACT_LOG2) * 8 + ((*slot_pages >> (log2 - 3)) - 8));
}

static size_t slot_space(const struct record *record)
{
	return ((size_t)record->slot_pages + 1) << slots.page_log2;
}

/* The oldest leaves the quarantine. */
static void quarantine_shift(void)
{
	struct record *record = &slots.records[slots.oldest];
	size_t slot_pages;
	unsigned list = list_of(record->slot_pages, &slot_pages);
	uint32_t number = slots.oldest;

	slots.oldest = record->next;
	if (slots.oldest == 0)
		slots.newest = 0;
	slots.quarantined--;
	slots.quarantined_bytes -= slot_space(record);
	record->next = slots.free_lists[list];
	slots.free_lists[list] = number;
}

static struct record *list_pop(unsigned list)
{
	uint32_t number = slots.free_lists[list];

	if (number == 0)
		return NULL;
	slots.free_lists[list] = slots.records[number].next;
	return &slots.records[number];
}

static struct record *slot_make(size_t slot_pages)
{
	uint32_t first = atomic_load_explicit(&slots.used_pages, memory_order_relaxed);
	uint32_t number = atomic_load_explicit(&slots.count, memory_order_relaxed) + 1;
	size_t end = (size_t)first + slot_pages + 1;

	if (end > slots_bytes >> slots.page_log2 ||
	    !table_cover(&slots.record_table, (number + 1) * sizeof(struct record), TABLE_BYTES_MIN) ||
	    !table_cover(&slots.index_table, end * sizeof(uint32_t), TABLE_BYTES_MIN) ||
	    !table_cover(&slots.arena_table, end << slots.page_log2, COMMIT_BYTES_MIN))
		return NULL;
	struct record *record = &slots.records[number];
	record->slot_page = first;
	record->slot_pages = (uint32_t)slot_pages;
	for (size_t page = first; page < end; page++)
		atomic_store_explicit(&slots.index[page], number, memory_order_relaxed);
	atomic_store_explicit(&slots.used_pages, (uint32_t)end, memory_order_release);
	atomic_store_explicit(&slots.count, number, memory_order_release);
	return record;
}

/* Where guards, or memory for more slots, have run out, slots leave the quarantine before their time. */
static struct record *recycle(unsigned list)
{
	struct record *record = NULL;

	for (size_t i = 0; i < RECYCLED_MOST && record == NULL && slots.oldest != 0; i++) {
		quarantine_shift();
		record = list_pop(list);
	}
	return record;
}

static bool guards_are_spent(void)
{
	return slots.settings.guards == SLOTS_GUARDS_PROTECTION &&
	       atomic_load_explicit(&slots.guards, memory_order_relaxed) >= slots.settings.guards_max;
}

struct record *slot_take(size_t pages)
{
	size_t slot_pages;

	if (pages == 0 || pages > slots_bytes >> slots.page_log2)
		return NULL;
	unsigned list = list_of(pages, &slot_pages);
	lock_take(&slots_lock);
	struct record *record = list_pop(list);
	if (record == NULL && guards_are_spent() && slots.quarantined > slots.settings.guards_max / 2)
		record = recycle(list);
	if (record == NULL)
		record = slot_make(slot_pages);
	if (record == NULL)
		record = recycle(list);
	if (record != NULL)
		atomic_store_explicit(&record->state, RECORD_TAKEN, memory_order_relaxed);
	lock_release(&slots_lock);
	return record;
}

void slot_untake(struct record *record)
{
	size_t slot_pages;
	unsigned list = list_of(record->slot_pages, &slot_pages);

	lock_take(&slots_lock);
	record->next = slots.free_lists[list];
	slots.free_lists[list] = (uint32_t)slot_number(record);
	lock_release(&slots_lock);
}

/* Under slots_lock. */
static void last_keep(const struct record *record, const unsigned char *bytes, size_t count)
{
	size_t at = record->freed_number % slots.settings.last_count;

	if (!table_cover(&slots.last_table, (at + 1) * sizeof(struct last), TABLE_BYTES_MIN))
		return;
	struct last *last = &slots.last[at];
	last->record = (uint32_t)slot_number(record);
	last->number = record->freed_number;
	last->count = (uint32_t)count;
	memcpy(last->bytes, bytes, count);
}

READS_STALE size_t slot_last_bytes(const struct record *record, unsigned char *last)
{
	const struct last *kept = &slots.last[record->freed_number % slots.settings.last_count];

	if ((uintptr_t)(kept + 1) > slots.last_table.start + slots.last_table.committed ||
	    kept->record != slot_number(record) || kept->number != record->freed_number)
		return 0;
	size_t count = min_size(kept->count, LAST_BYTES);
	for (size_t i = 0; i < count; i++)
		last[i] = kept->bytes[i];
	return count;
}

void slot_quarantine(struct record *record, const unsigned char *last, size_t last_bytes)
{
	uint32_t number = (uint32_t)slot_number(record);

	lock_take(&slots_lock);
	record->freed_number = atomic_load_explicit(&slots.frees, memory_order_relaxed) + 1;
	atomic_store_explicit(&slots.frees, record->freed_number, memory_order_relaxed);
	last_keep(record, last, last_bytes);
	record->next = 0;
	if (slots.newest != 0)
		slots.records[slots.newest].next = number;
	else
		slots.oldest = number;
	slots.newest = number;
	slots.quarantined++;
	slots.quarantined_bytes += slot_space(record);
	atomic_store_explicit(&record->state, RECORD_FREED, memory_order_release);
	while (slots.quarantined_bytes > slots.settings.quarantine_bytes)
		quarantine_shift();
	lock_release(&slots_lock);
}

/* ---- Looking up ---- */

struct record *slot_record(uintptr_t address)
{
	size_t page = (address - slots_base) >> slots.page_log2;

	if (address - slots_base >= slots_bytes || page >= atomic_load_explicit(&slots.used_pages, memory_order_acquire))
		return NULL;
	return &slots.records[atomic_load_explicit(&slots.index[page], memory_order_relaxed)];
}

size_t slots_count(void)
{
	return atomic_load_explicit(&slots.count, memory_order_acquire);
}

struct record *slot_at(size_t number)
{
	return &slots.records[number];
}

size_t slot_number(const struct record *record)
{
	return (size_t)(record - slots.records);
}

uint32_t slots_frees(void)
{
	return atomic_load_explicit(&slots.frees, memory_order_relaxed);
}

struct slots_figures slots_figures(void)
{
	lock_take(&slots_lock);
	struct slots_figures figures = {
		.slots = slots_count(),
		.quarantined = slots.quarantined,
		.quarantined_bytes = slots.quarantined_bytes,
		.table_bytes = slots.record_table.committed + slots.index_table.committed + slots.last_table.committed,
		.guards = atomic_load_explicit(&slots.guards, memory_order_relaxed),
	};
	lock_release(&slots_lock);
	return figures;
}

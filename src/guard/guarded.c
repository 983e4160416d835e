/* Guarded blocks: see guarded.h. */
#include "guard/guarded.h"

#include <string.h>

#include "base/bits.h"
#include "base/memcheck.h"
#include "base/text.h"
#include "guard/account.h"
#include "guard/filter.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "os/os.h"

#define GRANULE ((size_t)16)
/* Address space: what so many blocks take that memory has room for, and the quarantine twice. */
#define MEMORY_MULTIPLE 4
#define ARENA_BYTES_MIN (64 * GIB)
#define ARENA_BYTES_MAX (8192 * GIB)
#define LIMIT_FRACTION 4
/* First bytes are kept of so many frees. */
#define LAST_COUNT ((size_t)1 << 16)
/* Of sampled blocks: 12 MiB that live; the rest of 32 MiB is for records (6 with any mixture of sizes), index and page
 * tables of the arena (3), stacks, threads and last bytes (7). */
#define SAMPLED_ARENA_BYTES (1 * GIB)
#define SAMPLED_LIMIT_FRACTION 16
#define SAMPLED_BYTES (12 * MIB)
#define SAMPLED_QUARANTINE_BYTES (64 * MIB)
#define SAMPLED_LAST_COUNT ((size_t)1 << 12)
/* Guards by page protection: each splits a mapping, and the program needs some, too. */
#define MAPPINGS_FRACTION 4
/* How far to look for a live neighbour, in slots. */
#define NEIGHBOURS_MOST ((size_t)65536)

bool guarded_on;

static struct {
	const struct options *options;
	size_t page_bytes;
	size_t alignment;               /* where nothing was asked for */
	size_t limit_bytes;
	bool sampled;                   /* not guard mode: blocks are on an account */
	bool forms_unknown;
	_Atomic size_t live_blocks, live_bytes, live_page_bytes;
	_Atomic uint64_t random;
} guarded;

/* ---- The start ---- */

static size_t arena_bytes(const struct options *options)
{
	uint64_t limit = os_address_space_limit();
	size_t wanted = os_memory_bytes() * MEMORY_MULTIPLE + 2 * options->guard_quarantine;

	if (guarded.sampled)
		return min_size(limit / SAMPLED_LIMIT_FRACTION, SAMPLED_ARENA_BYTES);
	if (limit != UINT64_MAX)
		return limit / LIMIT_FRACTION;
	return min_size(max_size(wanted, ARENA_BYTES_MIN), ARENA_BYTES_MAX);
}

static enum slots_guards guards_kind(const struct options *options)
{
	switch (options->guard_with) {
	case OPTION_guard_with_protection:
		return SLOTS_GUARDS_PROTECTION;
	case OPTION_guard_with_checks:
		return SLOTS_GUARDS_NONE;
	default:
		return os_has_guards() ? SLOTS_GUARDS_MARKERS : SLOTS_GUARDS_PROTECTION;
	}
}

static COLD void say(const char *line)
{
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	text_format(&text, "quarry: guard: %s\n", line);
	text_write_error(&text);
}

static void sampled_configure(const struct options *options, struct slots_settings *settings)
{
	guarded.limit_bytes = min_size(options->guard_limit != 0 ? options->guard_limit : SAMPLED_BYTES, SAMPLED_BYTES);
	settings->quarantine_bytes = min_size(settings->quarantine_bytes, SAMPLED_QUARANTINE_BYTES);
	settings->last_count = SAMPLED_LAST_COUNT;
	account_configure(guarded.limit_bytes / guarded.page_bytes);
}

void guarded_configure(const struct options *options)
{
	guarded.sampled = !options->guard && options->sample > 0;
	struct slots_settings settings = {
		.bytes = arena_bytes(options),
		.guards = guards_kind(options),
		.quarantine_bytes = options->guard_quarantine,
		.last_count = LAST_COUNT,
	};

	if (settings.guards == SLOTS_GUARDS_PROTECTION)
		settings.guards_max = os_mappings_max() / MAPPINGS_FRACTION;
	guarded.options = options;
	guarded.page_bytes = os_page_bytes();
	guarded.alignment = options->guard_align == OPTION_guard_align_1 ? 1 : GRANULE;
	guarded.limit_bytes = options->guard_limit != 0 ? options->guard_limit : os_memory_bytes() / 2;
	guarded.random = os_now_ns() | 1;
	if (guarded.sampled)
		sampled_configure(options, &settings);
	guarded_on = slots_init(&settings);
	if (!guarded_on)
		say("no address space: nothing is guarded");
}

void guarded_forms_unknown(void)
{
	guarded.forms_unknown = true;
}

/* ---- Where a block stands ---- */

struct placing {
	size_t room;                    /* of the block, with what is to be checked behind it */
	size_t alignment;
	bool padded;                    /* UNFENCED_BYTES are in it */
	bool at_start;                  /* at the beginning of its pages */
};

/* Any old bits, whoever draws at the same time. */
static bool coin(void)
{
	uint64_t bits = atomic_load_explicit(&guarded.random, memory_order_relaxed);

	bits ^= bits << 13;
	bits ^= bits >> 7;
	bits ^= bits << 17;
	atomic_store_explicit(&guarded.random, bits, memory_order_relaxed);
	return bits >> 63;
}

static struct placing placing_of(const struct guarded_request *request)
{
	unsigned place = guarded.options->guard_place;
	bool padded = !slots_fences();

	return (struct placing){
		.room = max_size(request->size, 1) + (padded ? UNFENCED_BYTES : 0),
		.padded = padded,
		.alignment = max_size(request->alignment, guarded.alignment),
		.at_start = place == OPTION_guard_place_before || (place == OPTION_guard_place_random && coin()),
	};
}

/* Of the slot; more than the block's own where its alignment may ask for it. */
static size_t pages_needed(const struct placing *placing)
{
	size_t bytes = ROUND_UP(placing->room, guarded.page_bytes);

	if (placing->alignment > guarded.page_bytes)
		bytes += placing->alignment - guarded.page_bytes;
	return bytes / guarded.page_bytes;
}

/* As near to the slot's end, where its guard is, as may be. */
static uintptr_t start_in(const struct record *record, const struct placing *placing)
{
	uintptr_t end = slots_base + ((size_t)record->slot_page + record->slot_pages) * guarded.page_bytes;

	if (placing->at_start)
		return ROUND_DOWN(end - ROUND_UP(placing->room, guarded.page_bytes),
		                  max_size(placing->alignment, guarded.page_bytes));
	return ROUND_DOWN(end - placing->room, placing->alignment);
}

/* What a record says of its block. */
struct extent {
	uintptr_t pages;
	uintptr_t start;
	uintptr_t end;                  /* of the block */
	uintptr_t pages_end;
};

READS_STALE static struct extent extent_of(const struct record *record)
{
	struct extent extent = { .pages = slots_base + (size_t)record->page * guarded.page_bytes };
	size_t room = max_size(record->size, 1) + (record->padded ? UNFENCED_BYTES : 0);

	extent.start = extent.pages + record->offset;
	extent.end = extent.start + record->size;
	extent.pages_end = ROUND_UP(extent.start + room, guarded.page_bytes);
	return extent;
}

static size_t extent_pages(const struct extent *extent)
{
	return (extent->pages_end - extent->pages) / guarded.page_bytes;
}

/* ---- Bytes around a block ---- */

/* The first byte in [from, to) that is not `expected`, or `to`. */
static uintptr_t first_other(uintptr_t from, uintptr_t to, unsigned char expected)
{
	uint64_t words = expected * UINT64_C(0x0101010101010101);

	for (; from < to && from % sizeof(words) != 0; from++)
		if (*(const unsigned char *)from != expected)
			return from;
	/* A line at a time: most of a page is looked at for each small block. */
	for (; to - from >= CACHE_LINE_BYTES; from += CACHE_LINE_BYTES) {
		const uint64_t *line = (const uint64_t *)from;
		uint64_t others = 0;
		for (size_t i = 0; i < CACHE_LINE_BYTES / sizeof(*line); i++)
			others |= line[i] ^ words;
		if (others != 0)
			break;
	}
	for (; from < to; from++)
		if (*(const unsigned char *)from != expected)
			return from;
	return to;
}

static void fill(const struct extent *extent, bool zeroed)
{
	memset((void *)extent->pages, GUARDED_SLACK_BYTE, extent->start - extent->pages);
	memset((void *)extent->end, GUARDED_SLACK_BYTE, extent->pages_end - extent->end);
	if (!zeroed)
		memset((void *)extent->start, GUARDED_FILL_BYTE, min_size(extent->end - extent->start, guarded.options->guard_fill));
}

static void describe(const struct record *record, uint8_t state, struct guarded *found);

static COLD void report_changed(const struct record *record, enum report_kind kind, uintptr_t changed, const char *call)
{
	struct guarded block;

	describe(record, kind == REPORT_WRITTEN_AFTER_FREE ? RECORD_FREED : RECORD_LIVE, &block);
	report(&(struct report){ .call = call, .pointer = (void *)block.start, .kind = kind, .block = &block,
	                         .changed_offset = (ptrdiff_t)(changed - block.start) });
}

/* By who has turned the state from LIVE. */
static void check_slack(const struct record *record, const char *call)
{
	struct extent extent = extent_of(record);
	uintptr_t changed = first_other(extent.end, extent.pages_end, GUARDED_SLACK_BYTE);

	if (UNLIKELY(changed != extent.pages_end))
		report_changed(record, REPORT_OVERFLOW, changed, call);
	changed = first_other(extent.pages, extent.start, GUARDED_SLACK_BYTE);
	if (UNLIKELY(changed != extent.start))
		report_changed(record, REPORT_UNDERFLOW, changed, call);
}

/* A freed block that could not be made inaccessible: its pages were zero. */
static uintptr_t first_written(const struct record *record, const struct extent *extent)
{
	return record->open ? first_other(extent->pages, extent->pages_end, 0) : extent->pages_end;
}

/* By who has taken the slot again. */
static COLD void check_reused(const struct record *record)
{
	struct extent extent = extent_of(record);
	uintptr_t changed = first_written(record, &extent);

	if (LIKELY(changed == extent.pages_end))
		return;
	report_changed(record, REPORT_WRITTEN_AFTER_FREE, changed, "malloc");
	if (os_purge((void *)extent.pages, extent.pages_end - extent.pages) != 0)
		os_zero((void *)extent.pages, extent.pages_end - extent.pages);
}

/* Nobody takes the slot while slots_lock is held. */
static void check_freed(const struct record *record, const char *call)
{
	struct extent extent = { 0 };
	uintptr_t changed = 0;

	lock_take(&slots_lock);
	if (atomic_load_explicit(&record->state, memory_order_acquire) == RECORD_FREED) {
		extent = extent_of(record);
		changed = first_written(record, &extent);
	}
	lock_release(&slots_lock);
	if (UNLIKELY(changed != extent.pages_end))
		report_changed(record, REPORT_WRITTEN_AFTER_FREE, changed, call);
}

/* ---- Making ---- */

static void give_room(size_t bytes, uint32_t stack, bool second_place)
{
	atomic_fetch_sub_explicit(&guarded.live_page_bytes, bytes, memory_order_relaxed);
	if (guarded.sampled)
		account_give(stack, bytes / guarded.page_bytes, second_place);
}

static bool take_room_of_account(size_t bytes, uint32_t stack, bool *second_place)
{
	if (!account_take(stack, bytes / guarded.page_bytes, second_place))
		return false;
	atomic_fetch_add_explicit(&guarded.live_page_bytes, bytes, memory_order_relaxed);
	return true;
}

static bool take_room(size_t bytes, uint32_t stack, bool *second_place)
{
	static _Atomic bool said;

	if (guarded.sampled)
		return take_room_of_account(bytes, stack, second_place);
	size_t before = atomic_fetch_add_explicit(&guarded.live_page_bytes, bytes, memory_order_relaxed);

	if (LIKELY(before + bytes <= guarded.limit_bytes))
		return true;
	atomic_fetch_sub_explicit(&guarded.live_page_bytes, bytes, memory_order_relaxed);
	/* A request that is too large for itself is nothing to talk about. */
	if (bytes <= guarded.limit_bytes / 2 && !atomic_exchange_explicit(&said, true, memory_order_relaxed))
		say("guard_limit is reached: further blocks are not guarded");
	return false;
}

static bool wanted(const struct guarded_request *request, uint32_t *stack)
{
	const struct options *options = guarded.options;
	bool certain;

	if (!filter_wants_size(options, request->size) || !filter_wants_caller(options, request->caller, &certain))
		return false;
	*stack = 0;
	if (!certain || guarded.sampled) {
		*stack = stack_capture(__builtin_frame_address(0), 0);
		if (!certain && !filter_wants_stack(options, *stack))
			return false;
	}
	return filter_turn(options);
}

/* A slot whose pages are accessible and zero, in which the record says where the block will be. */
static struct record *take(const struct guarded_request *request, const struct placing *placing)
{
	struct record *record = slot_take(pages_needed(placing));

	if (record == NULL)
		return NULL;
	if (UNLIKELY(record->open))
		check_reused(record);
	uintptr_t start = start_in(record, placing);
	size_t page = (start - slots_base) / guarded.page_bytes;
	uintptr_t end = ROUND_UP(start + placing->room, guarded.page_bytes);
	if (!slot_open(record, page, (end - slots_base) / guarded.page_bytes - page)) {
		slot_untake(record);
		return NULL;
	}
	record->page = (uint32_t)page;
	record->offset = (uint16_t)(start % guarded.page_bytes);
	record->size = request->size & (((uint64_t)1 << 48) - 1);
	record->padded = placing->padded;
	record->alignment_log2 = log2_floor(placing->alignment) & 0xff;
	record->kind = request->kind & 0xf;
	return record;
}

void *guarded_make(const struct guarded_request *request)
{
	uint32_t stack;

	if (request->size > slots_bytes || request->alignment > slots_bytes || !wanted(request, &stack))
		return NULL;
	struct placing placing = placing_of(request);
	size_t page_bytes = ROUND_UP(placing.room, guarded.page_bytes);
	bool second_place = false;
	if (!take_room(page_bytes, stack, &second_place))
		return NULL;
	struct record *record = take(request, &placing);
	if (record == NULL) {
		give_room(page_bytes, stack, second_place);
		return NULL;
	}
	struct extent extent = extent_of(record);
	memcheck_writable((void *)extent.pages, extent.pages_end - extent.pages);
	fill(&extent, request->zeroed);
	memcheck_allocated((void *)extent.start, request->size, request->zeroed);
	/* Of a sampled block it is the same that the account has heard. */
	record->allocated_by = stack != 0 || guarded.sampled ? stack : stack_capture(__builtin_frame_address(0), 0);
	record->second_place = second_place;
	record->allocated_thread = thread_note();
	record->allocated_ns = os_now_ns();
	record->freed_by = record->freed_thread = 0;
	record->freed_ns = 0;
	atomic_fetch_add_explicit(&guarded.live_blocks, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&guarded.live_bytes, request->size, memory_order_relaxed);
	atomic_store_explicit(&record->state, RECORD_LIVE, memory_order_release);
	return (void *)extent.start;
}

/* ---- Freeing ---- */

static bool change_state(struct record *record, uint8_t from, uint8_t to)
{
	return atomic_compare_exchange_strong_explicit(&record->state, &from, to, memory_order_acquire, memory_order_relaxed);
}

/* LIVE becomes `to`; false if it was not. Waits while somebody looks at the block's pages. */
static bool leave_live(struct record *record, uint8_t to)
{
	uint8_t seen = RECORD_LIVE;

	/* What stood in the way is what this very attempt saw: a look afterwards may find it LIVE again. */
	while (!atomic_compare_exchange_strong_explicit(&record->state, &seen, to, memory_order_acquire, memory_order_relaxed)) {
		if (seen != RECORD_CHECKED)
			return false;
		seen = RECORD_LIVE;
		os_pause();
	}
	return true;
}

/* The record of the block that starts at the address; NULL if there is none, dead or alive. */
READS_STALE static struct record *record_of(const void *block)
{
	struct record *record = slot_record((uintptr_t)block);

	if (record == NULL || extent_of(record).start != (uintptr_t)block)
		return NULL;
	return record;
}

static COLD void report_pointer(const char *call, const void *pointer)
{
	struct guarded block;
	enum report_kind kind = REPORT_INVALID;

	if (!guarded_find(pointer, &block))
		block.state = GUARDED_NONE;
	else if (block.start == (uintptr_t)pointer && block.state == GUARDED_FREED)
		kind = REPORT_DOUBLE_FREE;
	else if ((uintptr_t)pointer - block.start < block.size)
		kind = REPORT_INTERIOR;
	report(&(struct report){ .call = call, .pointer = pointer, .kind = kind,
	                         .block = block.state != GUARDED_NONE ? &block : NULL });
}

/* Which kinds a call may free. */
static unsigned kinds_of_call(const char *call)
{
	static const char delete_name[] = "operator delete";

	if (strncmp(call, delete_name, sizeof(delete_name) - 1) != 0)
		return 1u << GUARD_KIND_MALLOC | 1u << GUARD_KIND_MEMALIGN;
	if (call[sizeof(delete_name) - 1] == '[')
		return 1u << GUARD_KIND_NEW_ARRAY | 1u << GUARD_KIND_NEW_ARRAY_ALIGNED;
	return 1u << GUARD_KIND_NEW | 1u << GUARD_KIND_NEW_ALIGNED;
}

static bool is_aligned_kind(unsigned kind)
{
	return kind == GUARD_KIND_NEW_ALIGNED || kind == GUARD_KIND_NEW_ARRAY_ALIGNED;
}

/* An alignment that malloc gives anyway may be said, or not; above that C++'s forms must say it. */
static bool alignment_fits(const struct record *record, size_t said)
{
	size_t asked = (size_t)1 << record->alignment_log2;

	if (said == 0 && !is_aligned_kind(record->kind))
		return true;
	return max_size(said, GRANULE) == max_size(asked, GRANULE);
}

static bool form_fits(const struct record *record, const struct guarded_release *release, enum report_kind *kind)
{
	*kind = REPORT_MISMATCHED;
	if (guarded.forms_unknown)
		return true;
	if ((kinds_of_call(release->call) >> record->kind & 1) == 0)
		return false;
	*kind = REPORT_WRONG_ALIGNMENT;
	if (!alignment_fits(record, release->alignment))
		return false;
	*kind = REPORT_WRONG_SIZE;
	return release->size == GUARDED_UNSAID || release->size == record->size;
}

static void check_form(const struct record *record, const struct guarded_release *release)
{
	struct guarded block;
	enum report_kind kind;

	if (LIKELY(form_fits(record, release, &kind)))
		return;
	describe(record, RECORD_LIVE, &block);
	report(&(struct report){ .call = release->call, .pointer = (void *)block.start, .kind = kind, .block = &block,
	                         .said = kind == REPORT_WRONG_SIZE ? release->size : release->alignment });
}

void guarded_free(void *block, const struct guarded_release *release)
{
	unsigned char last[64];
	struct record *record = record_of(block);

	if (UNLIKELY(record == NULL || !leave_live(record, RECORD_FREEING))) {
		report_pointer(release->call, block);
		return;
	}
	check_form(record, release);
	check_slack(record, release->call);
	struct extent extent = extent_of(record);
	size_t last_bytes = min_size(record->size, sizeof(last));
	memcheck_freeing(block, record->size);
	memcpy(last, block, last_bytes);
	memcheck_freed(block, record->size);
	record->freed_by = stack_capture(__builtin_frame_address(0), 0);
	record->freed_thread = thread_note();
	record->freed_ns = os_now_ns();
	atomic_fetch_sub_explicit(&guarded.live_blocks, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&guarded.live_bytes, record->size, memory_order_relaxed);
	give_room(extent.pages_end - extent.pages, record->allocated_by, record->second_place);
	slot_close(record, extent_pages(&extent));
	slot_quarantine(record, last, last_bytes);
}

static bool is_live(const void *block, const char *call, struct record **record)
{
	*record = record_of(block);
	if (*record != NULL) {
		uint8_t state = atomic_load_explicit(&(*record)->state, memory_order_acquire);
		if (state == RECORD_LIVE || state == RECORD_CHECKED)
			return true;
	}
	report_pointer(call, block);
	return false;
}

size_t guarded_size(const void *block, const char *call)
{
	struct record *record;

	return is_live(block, call, &record) ? record->size : 0;
}

bool guarded_may_resize(const void *block, const char *call, size_t *size)
{
	struct record *record;

	if (!is_live(block, call, &record))
		return false;
	check_form(record, &(struct guarded_release){ .call = call, .size = GUARDED_UNSAID });
	*size = record->size;
	return true;
}

/* ---- Looking ---- */

READS_STALE static void describe(const struct record *record, uint8_t state, struct guarded *found)
{
	struct extent extent = extent_of(record);
	bool freed = state == RECORD_FREED || state == RECORD_FREEING || state == RECORD_TAKEN;

	*found = (struct guarded){
		.state = freed ? GUARDED_FREED : GUARDED_LIVE,
		.kind = record->kind,
		.start = extent.start,
		.size = record->size,
		.alignment = (size_t)1 << record->alignment_log2,
		.pages = extent.pages,
		.pages_end = extent.pages_end,
		.allocated_by = record->allocated_by,
		.freed_by = record->freed_by,
		.allocated_thread = record->allocated_thread,
		.freed_thread = record->freed_thread,
		.allocated_ns = record->allocated_ns,
		.freed_ns = record->freed_ns,
	};
	if (!freed)
		return;
	found->frees_since = slots_frees() - record->freed_number;
	found->last_bytes = slot_last_bytes(record, found->last);
}

/* Nothing is known of a fresh slot that is just being taken. */
READS_STALE static bool is_known(const struct record *record, uint8_t *state)
{
	*state = atomic_load_explicit(&record->state, memory_order_acquire);
	return record->used && record->allocated_ns != 0;
}

static bool is_live_state(uint8_t state)
{
	return state == RECORD_LIVE || state == RECORD_CHECKED;
}

bool guarded_find(const void *address, struct guarded *found)
{
	struct record *record = slot_record((uintptr_t)address);
	struct guarded next;
	uint8_t state;

	found->state = GUARDED_NONE;
	/* In front of the arena's first slot. */
	if (record == NULL && slots_bytes != 0 && slots_base - (uintptr_t)address <= guarded.page_bytes && slots_count() > 0)
		record = slot_at(1);
	if (record == NULL)
		return false;
	if (is_known(record, &state))
		describe(record, state, found);
	/* In the guard behind it, the next slot's block may be nearer. */
	uintptr_t slot_end = slots_base + ((size_t)record->slot_page + record->slot_pages) * guarded.page_bytes;
	if ((uintptr_t)address < slot_end || slot_number(record) == slots_count() ||
	    !is_known(record + 1, &state))
		return found->state != GUARDED_NONE;
	describe(record + 1, state, &next);
	if (found->state == GUARDED_NONE ||
	    next.start - (uintptr_t)address < (uintptr_t)address - (found->start + found->size))
		*found = next;
	return true;
}

static bool live_neighbour(size_t from, ptrdiff_t step, struct guarded *found)
{
	uint8_t state;

	found->state = GUARDED_NONE;
	for (size_t i = 0; i < NEIGHBOURS_MOST && from >= 1 && from <= slots_count(); i++, from += (size_t)step)
		if (is_known(slot_at(from), &state) && is_live_state(state)) {
			describe(slot_at(from), state, found);
			return true;
		}
	return false;
}

bool guarded_neighbours(const void *address, struct guarded *before, struct guarded *after)
{
	struct record *record = slot_record((uintptr_t)address);

	before->state = after->state = GUARDED_NONE;
	if (record == NULL)
		return false;
	/* The slot's own block is not its neighbour, unless the address lies clear of it. */
	size_t own = slot_number(record);
	struct guarded block;
	uint8_t state;
	bool own_is_before = false;
	bool own_is_after = false;
	if (is_known(record, &state) && is_live_state(state)) {
		describe(record, state, &block);
		own_is_before = (uintptr_t)address >= block.start + max_size(block.size, 1);
		own_is_after = (uintptr_t)address < block.start;
	}
	bool any = live_neighbour(own - !own_is_before, -1, before);
	return live_neighbour(own + !own_is_after, 1, after) || any;
}

void guarded_check_all(const char *call)
{
	size_t count = slots_count();

	for (size_t number = 1; number <= count; number++) {
		struct record *record = slot_at(number);
		if (change_state(record, RECORD_LIVE, RECORD_CHECKED)) {
			check_slack(record, call);
			atomic_store_explicit(&record->state, RECORD_LIVE, memory_order_release);
		} else {
			check_freed(record, call);
		}
	}
}

int guarded_walk(int (*visit)(void *block, size_t size, void *context), void *context)
{
	size_t count = slots_count();

	for (size_t number = 1; number <= count; number++) {
		struct guarded block;
		uint8_t state;
		if (!is_known(slot_at(number), &state) || !is_live_state(state))
			continue;
		describe(slot_at(number), state, &block);
		int result = visit((void *)block.start, block.size, context);
		if (result != 0)
			return result;
	}
	return 0;
}

size_t guarded_numbers(void)
{
	return slots_count();
}

READS_STALE bool guarded_live_number(size_t number, struct guarded_live *live)
{
	const struct record *record = slot_at(number);
	uint8_t state;

	if (!is_known(record, &state) || !is_live_state(state))
		return false;
	*live = (struct guarded_live){
		.number = number,
		.start = extent_of(record).start,
		.size = record->size,
		.kind = record->kind,
		.alignment = (size_t)1 << record->alignment_log2,
		.allocated_by = record->allocated_by,
		.allocated_ns = record->allocated_ns,
	};
	return true;
}

bool guarded_live_at(uintptr_t address, struct guarded_live *live)
{
	const struct record *record = slot_record(address);

	return record != NULL && guarded_live_number(slot_number(record), live) &&
	       address - live->start < max_size(live->size, 1);
}

bool guarded_is_table(const void *address)
{
	return slots_is_table(address);
}

struct guarded_figures guarded_figures(void)
{
	if (!guarded_on)
		return (struct guarded_figures){ 0 };
	return (struct guarded_figures){
		.live_blocks = atomic_load_explicit(&guarded.live_blocks, memory_order_relaxed),
		.live_bytes = atomic_load_explicit(&guarded.live_bytes, memory_order_relaxed),
		.live_page_bytes = atomic_load_explicit(&guarded.live_page_bytes, memory_order_relaxed),
		.slots = slots_figures(),
	};
}

/* ---- Going on after a report ---- */

/* The guard in front of the first slot is ours, too. */
bool guarded_is_owner(const void *address)
{
	return slots_bytes != 0 && (uintptr_t)address - (slots_base - guarded.page_bytes) < slots_bytes + guarded.page_bytes;
}

bool guarded_open(const void *address)
{
	size_t page = os_page_bytes();
	void *start = (void *)ROUND_DOWN((uintptr_t)address, page);

	/* Whichever of the two it was, the other call changes nothing. */
	os_guard_remove(start, page);
	return os_commit(start, page) == 0;
}

/* The search: see reach.h. It goes in three phases, of which each only adds to what the one before has found:
 *
 *   certainly   from the roots, along pointers to blocks' starts; blocks that are met by a pointer to their inside are noted
 *   possibly    from those, along any pointers
 *   indirectly  from each block that is left, along any pointers: those found are left, too, but somebody points to them
 *
 * Each block has a byte for what is known of it: guarded ones by their numbers, others by the place of their first byte in
 * their region, of which there is one for 16. A block is put on the list of those to be looked into when its byte changes,
 * so at most once in a phase. */
#include "observe/reach.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "block/lookup.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "os/os.h"
#include "space/space.h"

#define GRANULE_LOG2 4
#define CHUNK_BYTES (64 * KIB)
#define LIST_COMMIT_BYTES (256 * KIB)
#define THREADS_MAX ((size_t)4096)

/* Starts of blocks; becomes accessible as it grows. */
struct list {
	uintptr_t *starts;
	size_t count;
	size_t committed;
	size_t most;
};

struct block {
	uintptr_t start;
	size_t size;
	uint8_t *reach;                 /* enum reach */
	bool guarded;
	enum guard_kind kind;
	size_t alignment;
};

struct region_marks {
	uintptr_t base;
	size_t bytes;                   /* committed when the search began: what is newer was not lost then */
	size_t first;                   /* of its marks, in `unnumbered` */
};

/* Whose turn it is, alone. None of it points to a block: in a program that has Quarry linked in it is
 * searched like the program's own. */
static struct {
	uintptr_t room, room_end;
	uint8_t *numbered;              /* marks of guarded blocks */
	size_t numbers;
	uint8_t *unnumbered;            /* and of others */
	size_t unnumbered_count;
	struct region_marks regions[REGION_MAX];
	size_t region_count;
	struct os_stopped *threads;
	size_t thread_count, deaf_count;
	int *ids;
	uintptr_t *chunk;
	struct list pending;            /* to be looked into */
	struct list inner;              /* met by a pointer to the inside */
	enum reach phase;
	uintptr_t own_stack;
	uintptr_t own_start, own_end;   /* the shared library that this is; or what it would hide in a program's data */
	int pages;                      /* os_pages_open */
	int error;
} search;

/* ---- Room ---- */

static void regions_note(void)
{
	search.region_count = region_count();
	for (size_t i = 0; i < search.region_count; i++) {
		const struct region *region = region_at(i);
		size_t bytes = atomic_load_explicit(&region->committed_bytes, memory_order_acquire);
		search.regions[i] = (struct region_marks){ region->base, bytes, search.unnumbered_count };
		search.unnumbered_count += bytes >> GRANULE_LOG2;
	}
}

/* Whole pages. */
static void *part(uintptr_t *at, size_t bytes)
{
	uintptr_t start = *at;

	*at += ROUND_UP(bytes + 1, os_page_bytes());
	return (void *)start;
}

static void list_lay_out(struct list *list, uintptr_t *at)
{
	list->most = search.numbers + search.unnumbered_count;
	list->starts = part(at, list->most * sizeof(uintptr_t));
}

/* Everything from this address on; returns where the part ends that is to be accessible at once. An inaccessible page at
 * each end keeps it from becoming one mapping with somebody else's. */
static uintptr_t lay_out(uintptr_t start, size_t extra_bytes)
{
	uintptr_t at = start + os_page_bytes();

	part(&at, extra_bytes);
	search.numbered = part(&at, search.numbers + 1);
	search.threads = part(&at, THREADS_MAX * sizeof(struct os_stopped));
	search.ids = part(&at, 2 * THREADS_MAX * sizeof(int));
	search.chunk = part(&at, CHUNK_BYTES);
	search.unnumbered = part(&at, search.unnumbered_count);
	uintptr_t early_end = at;
	list_lay_out(&search.pending, &at);
	list_lay_out(&search.inner, &at);
	search.room = start;
	search.room_end = at + os_page_bytes();
	return early_end;
}

void *reach_begin(size_t extra_bytes)
{
	memset(&search, 0, sizeof(search));
	search.numbers = guarded_numbers();
	regions_note();
	lay_out(0, extra_bytes);
	char *room = os_reserve_uncharged(search.room_end);
	if (room == NULL)
		return NULL;
	uintptr_t early_end = lay_out((uintptr_t)room, extra_bytes);
	char *start = room + os_page_bytes();
	if (os_commit(start, early_end - (uintptr_t)start) == 0)
		return start;
	reach_end();
	return NULL;
}

void reach_end(void)
{
	os_unmap((void *)search.room, search.room_end - search.room);
	memset(&search, 0, sizeof(search));
}

/* ---- Blocks ---- */

static bool guarded_at(uintptr_t address, struct block *block)
{
	struct guarded_live live;

	if (!guarded_live_at(address, &live) || live.number > search.numbers)
		return false;
	*block = (struct block){ .start = live.start, .size = live.size, .reach = &search.numbered[live.number],
		                 .guarded = true, .kind = live.kind, .alignment = live.alignment };
	return true;
}

static uint8_t *mark_at(uintptr_t start)
{
	for (size_t i = 0; i < search.region_count; i++) {
		const struct region_marks *region = &search.regions[i];
		if (start - region->base < region->bytes)
			return &search.unnumbered[region->first + ((start - region->base) >> GRANULE_LOG2)];
	}
	return NULL;
}

static bool other_at(uintptr_t address, struct block *block)
{
	if (region_of((const void *)address) == NULL)
		return false;
	struct place place = place_of((const void *)address);
	if (place.kind != PLACE_BLOCK || ledger_get(place.state) != LEDGER_LIVE)
		return false;
	*block = (struct block){ .start = place.start, .size = place.bytes, .reach = mark_at(place.start) };
	return block->reach != NULL;
}

static bool block_at(uintptr_t address, struct block *block)
{
	return guarded_owns((const void *)address) ? guarded_at(address, block) : other_at(address, block);
}

/* A vector of thread-local storage's addresses, which glibc allocates in front of what it points to: its first word says
 * how many entries of two words there are, without two. */
static bool is_thread_vector(const struct block *block, uintptr_t address)
{
	const size_t entry_bytes = 2 * sizeof(uintptr_t);
	uintptr_t count;

	if (address - block->start != entry_bytes || os_copy(&count, block->start, sizeof(count)) != sizeof(count) ||
	    count == 0 || count > block->size)
		return false;
	size_t bytes = (count + 2) * entry_bytes;
	return block->guarded ? bytes == block->size : bytes <= block->size && bytes > block->size / 4 * 3;
}

/* Pointers that are all that anybody keeps, by design: to an array behind the count that new[] puts in front of it, and to a
 * vector of thread-local storage. */
static bool is_as_start(const struct block *block, uintptr_t address)
{
	size_t offset = address - block->start;

	if (offset == 0)
		return true;
	if (block->kind == GUARD_KIND_NEW_ARRAY)
		return offset == sizeof(size_t) || offset == 2 * sizeof(size_t);
	if (block->kind == GUARD_KIND_NEW_ARRAY_ALIGNED)
		return offset == block->alignment;
	return is_thread_vector(block, address);
}

/* ---- Lists ---- */

static void list_push(struct list *list, uintptr_t start)
{
	size_t most = list->committed / sizeof(uintptr_t);

	if (list->count == most) {
		size_t bytes = min_size(LIST_COMMIT_BYTES, ROUND_UP(list->most * sizeof(uintptr_t) + 1, os_page_bytes()) - list->committed);
		if (bytes == 0 || os_commit((char *)list->starts + list->committed, bytes) != 0) {
			search.error = -ENOMEM;
			return;
		}
		list->committed += bytes;
	}
	list->starts[list->count++] = start;
}

/* ---- Words ---- */

static void word_certain(const struct block *block, uintptr_t word)
{
	if (*block->reach == REACH_CERTAINLY)
		return;
	if (is_as_start(block, word)) {
		*block->reach = REACH_CERTAINLY;
		list_push(&search.pending, block->start);
	} else if (*block->reach == REACH_NONE) {
		*block->reach = REACH_POSSIBLY;
		list_push(&search.inner, block->start);
	}
}

static void words_look(const uintptr_t *words, size_t count)
{
	struct block block;

	for (size_t i = 0; i < count; i++) {
		if (!block_at(words[i], &block))
			continue;
		if (search.phase == REACH_CERTAINLY) {
			word_certain(&block, words[i]);
		} else if (*block.reach == REACH_NONE) {
			*block.reach = (uint8_t)search.phase;
			list_push(&search.pending, block.start);
		}
	}
}

/* Pages that can't be read are passed by. */
static void range_look(uintptr_t from, uintptr_t to)
{
	while (from < to && search.error == 0) {
		size_t wanted = min_size(to - from, CHUNK_BYTES);
		size_t got = os_copy(search.chunk, from, wanted);
		words_look(search.chunk, got / sizeof(uintptr_t));
		from = got == wanted ? from + got : ROUND_DOWN(from + got, os_kernel_page_bytes()) + os_kernel_page_bytes();
	}
}

static void pending_look(void)
{
	struct block block;

	while (search.pending.count > 0 && search.error == 0) {
		uintptr_t start = search.pending.starts[--search.pending.count];
		/* Words by their offset in the block, whatever its address is a multiple of. */
		if (block_at(start, &block))
			range_look(block.start, block.start + block.size);
	}
}

/* ---- Roots ---- */

static size_t pages_own(const struct os_mapping *mapping, uintptr_t at, unsigned char *own, size_t most)
{
	size_t page_bytes = os_kernel_page_bytes();
	size_t pages = min_size((mapping->end - at + page_bytes - 1) / page_bytes, most);

	if (mapping->shared)
		return os_resident_pages((void *)at, pages * page_bytes, own) == 0 ? pages : 0;
	return search.pages >= 0 ? os_pages_own(search.pages, at, pages, own) : 0;
}

/* The pages of a mapping from an address on that hold anything; all where the kernel doesn't tell. */
static void pages_look(const struct os_mapping *mapping, uintptr_t from)
{
	unsigned char own[256];
	size_t page_bytes = os_kernel_page_bytes();
	uintptr_t at = ROUND_DOWN(from, page_bytes);

	while (at < mapping->end && search.error == 0) {
		size_t pages = pages_own(mapping, at, own, sizeof(own));
		if (pages == 0) {
			range_look(max_size(at, from), mapping->end);
			return;
		}
		for (size_t i = 0, run; i < pages; i += run) {
			for (run = 1; i + run < pages && own[i + run] == own[i]; run++)
				continue;
			uintptr_t start = at + i * page_bytes;
			if (own[i] != 0)
				range_look(max_size(start, from), min_size(start + run * page_bytes, mapping->end));
		}
		at += pages * page_bytes;
	}
}

/* The same without our own data: a region's base is the address of its first block, too. A mapping may go on behind them. */
static void mapping_look(const struct os_mapping *mapping, uintptr_t from)
{
	struct os_mapping below = *mapping;

	if (from >= search.own_end || mapping->end <= search.own_start) {
		pages_look(mapping, from);
		return;
	}
	below.end = search.own_start;
	if (from < below.end)
		pages_look(&below, from);
	if (mapping->end > search.own_end)
		pages_look(mapping, ROUND_UP(search.own_end, sizeof(uintptr_t)));
}

static bool is_quarrys(const struct os_mapping *mapping)
{
	const void *start = (const void *)mapping->start;

	return guarded_owns(start) || guarded_is_table(start) || place_of(start).kind != PLACE_FOREIGN ||
	       mapping->start - search.room < search.room_end - search.room;
}

/* What a function that calls no other keeps below its stack pointer (the ABI's red zone). */
#define RED_ZONE_BYTES ((uintptr_t)128)
/* Of our own frames, below the one that asks. */
#define OWN_FRAMES_BYTES ((uintptr_t)4096)

static bool is_in(const struct os_mapping *mapping, uintptr_t address)
{
	return address - mapping->start < mapping->end - mapping->start;
}

/* The stack pointer of a thread that is in the mapping; its start if there is none. */
static uintptr_t stack_in(const struct os_mapping *mapping)
{
	for (size_t i = 0; i < search.thread_count; i++)
		if (is_in(mapping, search.threads[i].stack))
			return ROUND_DOWN(search.threads[i].stack - RED_ZONE_BYTES, sizeof(uintptr_t));
	return mapping->start;
}

static bool mapping_visit(const struct os_mapping *mapping, void *context UNUSED)
{
	uintptr_t frames = (uintptr_t)__builtin_frame_address(0) - OWN_FRAMES_BYTES;

	if (!mapping->readable || is_quarrys(mapping))
		return true;
	if (!is_in(mapping, search.own_stack)) {
		mapping_look(mapping, mapping->is_main_stack ? stack_in(mapping) : mapping->start);
		return search.error == 0;
	}
	/* What lies below our own frames is old, but who knows whether it is this stack's: they alone are left out. */
	if (!mapping->is_main_stack && is_in(mapping, frames))
		mapping_look(&(struct os_mapping){ .start = mapping->start, .end = frames,
		                                   .shared = mapping->shared }, mapping->start);
	mapping_look(mapping, search.own_stack);
	return search.error == 0;
}

/* A stack may lie in a block. */
static void stack_look(uintptr_t stack)
{
	struct block block;

	if (!block_at(stack, &block) || *block.reach == REACH_CERTAINLY)
		return;
	*block.reach = REACH_CERTAINLY;
	list_push(&search.pending, block.start);
}

static int roots_look(void)
{
	const void *context = report_handler_context();

	words_look((const uintptr_t *)&context, 1);
	stack_look(search.own_stack);
	for (size_t i = 0; i < search.thread_count; i++) {
		const struct os_stopped *thread = &search.threads[i];
		stack_look(thread->stack);
		words_look(thread->registers, sizeof(thread->registers) / sizeof(thread->registers[0]));
	}
	search.pages = os_pages_open();
	int error = os_mappings(mapping_visit, NULL);
	os_pages_close(search.pages);
	return error != 0 ? error : search.error;
}

/* ---- The phases ---- */

static void look_from_inner(void)
{
	struct block block;

	search.phase = REACH_POSSIBLY;
	for (size_t i = 0; i < search.inner.count; i++)
		if (block_at(search.inner.starts[i], &block) && *block.reach == REACH_POSSIBLY)
			list_push(&search.pending, block.start);
	pending_look();
}

/* A block that points to itself, or is in a ring, is not found by itself: one of the ring is left. */
static void look_from_left(void)
{
	struct guarded_live live;

	search.phase = REACH_INDIRECTLY;
	for (size_t number = 1; number <= search.numbers && search.error == 0; number++) {
		if (search.numbered[number] != REACH_NONE || !guarded_live_number(number, &live))
			continue;
		search.numbered[number] = REACH_INDIRECTLY;
		range_look(live.start, live.start + live.size);
		pending_look();
		search.numbered[number] = REACH_NONE;
	}
}

int reach_search(uintptr_t own_stack)
{
	search.own_stack = own_stack;
	stack_own_object(&search.own_start, &search.own_end);
	if (search.own_end == 0) {
		search.own_start = (uintptr_t)&region_first;
		search.own_end = (uintptr_t)(&region_first + 1);
	}
	search.thread_count = os_world_stop(search.threads, search.ids, THREADS_MAX, &search.deaf_count);
	search.phase = REACH_CERTAINLY;
	int error = roots_look();
	if (error != 0)
		return error;
	pending_look();
	look_from_inner();
	look_from_left();
	return search.error;
}

size_t reach_deaf_threads(void)
{
	return search.deaf_count;
}

enum reach reach_of(size_t number)
{
	return number <= search.numbers ? (enum reach)search.numbered[number] : REACH_CERTAINLY;
}

void reach_resume(void)
{
	os_world_go();
}

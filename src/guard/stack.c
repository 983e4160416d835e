/* Stacks and threads as numbers: see stack.h.
 *
 * The depot is one array of words; a stack's number is the index of its entry. An entry holds a hash and the frames as
 * differences from one to the next, in 7-bit groups: frames of one library lie near each other, so a frame takes 3 to 4
 * bytes. An index of numbers, by hash, finds them; it is a power of two in size and never grows, so no look-up waits for
 * anybody. */
#include "guard/stack.h"

#include <string.h>

#include "base/bits.h"
#include "base/memcheck.h"
#include "guard/unwind.h"
#include "os/os.h"

#define WORD_BYTES ((size_t)8)
/* Average of an entry, generously: the index has four places for three. */
#define ENTRY_BYTES_USUAL 64
#define COMMIT_BYTES (256 * KIB)
#define PROBES_MAX 64

struct entry {
	uint64_t hash;
	uint16_t count;
	uint8_t bytes[];
};
#define ENTRY_HEAD offsetof(struct entry, bytes)

#define NOTE_COUNT 65536
#define NOTE_NAME_CALLS 256

#define NAME_WORDS 2

/* Every word is stored with release after `number` became 0, and loaded with acquire before `number` is looked at again: who
 * sees a word of the next note sees that this one is gone. */
struct note {
	_Atomic uint32_t number;        /* 0 while it is written */
	_Atomic int id;
	_Atomic uint64_t name[NAME_WORDS];
};

/* The notes that threads use now, by kernel id: [id | note]. */
#define THREAD_SLOTS 8192

struct thread_slot {
	_Atomic uint64_t word;
	_Atomic uint32_t calls;
};

/* All of it is made by stack_configure and immutable then, but what is _Atomic. */
static struct {
	size_t depth;
	bool names;
	char *entries;
	size_t words;                   /* that `entries` may have */
	_Atomic size_t used_words;      /* the first is not used: number 0 is no stack */
	_Atomic size_t committed_words;
	_Atomic size_t count;
	_Atomic uint32_t *index;
	size_t index_mask;
	struct note *notes;
	_Atomic uint32_t newest_note;
	struct thread_slot *threads;
	uintptr_t own_start, own_end;   /* of the shared library that this is; none in programs that have it linked in */
	_Atomic bool ready;
} depot;

static void *memory_make(size_t bytes)
{
	bytes = ROUND_UP(bytes, os_page_bytes());
	void *memory = os_reserve(bytes);

	if (memory == NULL)
		return NULL;
	if (os_commit(memory, bytes) == 0) {
		memcheck_own(memory, bytes);
		return memory;
	}
	os_unmap(memory, bytes);
	return NULL;
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* What Quarry's own functions do on top of a stack is of no interest. */
static void own_code_find(void)
{
	struct os_object object;

	if (!os_object_of((const void *)(uintptr_t)own_code_find, &object))
		return;
	const char *slash = strrchr(object.name, '/');
	if (begins_with(slash != NULL ? slash + 1 : object.name, "libquarry.so")) {
		depot.own_start = object.start;
		depot.own_end = object.end;
	}
}

bool stack_configure(size_t depth, size_t depot_bytes, bool names)
{
	size_t places = power_of_two_ceil(max_size(depot_bytes / ENTRY_BYTES_USUAL, KIB));

	if (atomic_load_explicit(&depot.ready, memory_order_relaxed))
		return true;
	depot_bytes = ROUND_UP(max_size(depot_bytes, COMMIT_BYTES), os_page_bytes());
	depot.names = names;
	depot.depth = min_size(depth, STACK_FRAMES_MAX);
	depot.words = min_size(depot_bytes / WORD_BYTES, UINT32_MAX);
	depot.entries = os_reserve(depot_bytes);
	depot.index = memory_make(places * sizeof(*depot.index));
	depot.index_mask = places - 1;
	depot.notes = memory_make(NOTE_COUNT * sizeof(struct note));
	depot.threads = memory_make(THREAD_SLOTS * sizeof(struct thread_slot));
	if (depot.entries == NULL || depot.index == NULL || depot.notes == NULL || depot.threads == NULL)
		return false;
	atomic_store_explicit(&depot.used_words, 1, memory_order_relaxed);
	unwind_use_cache(memory_make(UNWIND_CACHE_BYTES));
	own_code_find();
	atomic_store_explicit(&depot.ready, true, memory_order_release);
	return true;
}

void stack_own_object(uintptr_t *start, uintptr_t *end)
{
	*start = depot.own_start;
	*end = depot.own_end;
}

static bool is_ready(void)
{
	return atomic_load_explicit(&depot.ready, memory_order_acquire);
}

/* ---- Frames as bytes ---- */

static uint64_t frames_hash(const uintptr_t *frames, size_t count)
{
	uint64_t hash = count;

	for (size_t i = 0; i < count; i++) {
		hash = (hash ^ frames[i]) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 29;
	}
	return hash;
}

/* Small for small steps of either sign. */
static uint64_t step_fold(uintptr_t from, uintptr_t to)
{
	int64_t step = (int64_t)(to - from);

	return (uint64_t)step << 1 ^ -(uint64_t)(step < 0);
}

static uintptr_t step_unfold(uintptr_t from, uint64_t folded)
{
	return from + (uintptr_t)(folded >> 1 ^ (~(folded & 1) + 1));
}

static size_t encoded_bytes(const uintptr_t *frames, size_t count)
{
	size_t bytes = 0;
	uintptr_t before = 0;

	for (size_t i = 0; i < count; before = frames[i++]) {
		uint64_t folded = step_fold(before, frames[i]);
		bytes += folded == 0 ? 1 : log2_floor(folded) / 7 + 1;
	}
	return bytes;
}

static void encode(uint8_t *at, const uintptr_t *frames, size_t count)
{
	uintptr_t before = 0;

	for (size_t i = 0; i < count; before = frames[i++]) {
		uint64_t folded = step_fold(before, frames[i]);
		for (; folded >= 0x80; folded >>= 7)
			*at++ = (uint8_t)(folded | 0x80);
		*at++ = (uint8_t)folded;
	}
}

static uintptr_t decode(const uint8_t **at, uintptr_t before)
{
	uint64_t folded = 0;
	uint8_t byte;
	unsigned shift = 0;

	do {
		byte = *(*at)++;
		folded |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while ((byte & 0x80) != 0);
	return step_unfold(before, folded);
}

static struct entry *entry_at(uint32_t number)
{
	return (struct entry *)(void *)(depot.entries + number * WORD_BYTES);
}

static bool entry_is(const struct entry *entry, uint64_t hash, const uintptr_t *frames, size_t count)
{
	const uint8_t *at = entry->bytes;
	uintptr_t frame = 0;

	if (entry->hash != hash || entry->count != count)
		return false;
	for (size_t i = 0; i < count; i++) {
		frame = decode(&at, frame);
		if (frame != frames[i])
			return false;
	}
	return true;
}

/* ---- The depot ---- */

/* Makes the words up to `end` writable. Two threads may do so at once: it is the same call twice. */
static bool commit(size_t end)
{
	size_t committed = atomic_load_explicit(&depot.committed_words, memory_order_acquire);

	while (committed < end) {
		size_t target = min_size(ROUND_UP(end, COMMIT_BYTES / WORD_BYTES), depot.words);
		target = ROUND_UP(target * WORD_BYTES, os_page_bytes()) / WORD_BYTES;
		if (os_commit(depot.entries + committed * WORD_BYTES, (target - committed) * WORD_BYTES) != 0)
			return false;
		memcheck_own(depot.entries + committed * WORD_BYTES, (target - committed) * WORD_BYTES);
		if (atomic_compare_exchange_strong_explicit(&depot.committed_words, &committed, target, memory_order_acq_rel,
		                                            memory_order_acquire))
			return true;
	}
	return true;
}

/* A number for so many bytes; 0 if the depot is full. */
static uint32_t entry_take(size_t bytes)
{
	size_t words = (bytes + WORD_BYTES - 1) / WORD_BYTES;
	size_t used = atomic_load_explicit(&depot.used_words, memory_order_relaxed);

	do {
		if (words > depot.words - used)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(&depot.used_words, &used, used + words, memory_order_relaxed,
	                                                memory_order_relaxed));
	return commit(used + words) ? (uint32_t)used : 0;
}

static uint32_t entry_make(uint64_t hash, const uintptr_t *frames, size_t count)
{
	uint32_t number = entry_take(ENTRY_HEAD + encoded_bytes(frames, count));

	if (number == 0)
		return 0;
	struct entry *entry = entry_at(number);
	entry->hash = hash;
	entry->count = (uint16_t)count;
	encode(entry->bytes, frames, count);
	return number;
}

uint32_t stack_keep(uint64_t hash, const uintptr_t *frames, size_t count)
{
	uint32_t made = 0;

	for (size_t probe = 0; probe < PROBES_MAX; probe++) {
		_Atomic uint32_t *place = &depot.index[(hash + probe) & depot.index_mask];
		uint32_t number = atomic_load_explicit(place, memory_order_acquire);

		if (number == 0) {
			if (made == 0)
				made = entry_make(hash, frames, count);
			if (made == 0)
				return 0;
			/* Release: who finds the number finds the entry. */
			if (atomic_compare_exchange_strong_explicit(place, &number, made, memory_order_acq_rel,
			                                            memory_order_acquire)) {
				atomic_fetch_add_explicit(&depot.count, 1, memory_order_relaxed);
				return made;
			}
		}
		if (entry_is(entry_at(number), hash, frames, count))
			return number;
	}
	return 0;
}

static size_t frames_walk(struct unwind *unwind, unsigned skip, uintptr_t *frames, size_t most)
{
	size_t count = 0;

	if (unwind->pc == 0)
		return 0;
	do {
		if (count == 0 && unwind->pc - depot.own_start < depot.own_end - depot.own_start)
			continue;
		if (skip > 0)
			skip--;
		else
			frames[count++] = unwind->pc;
	} while (count < most && unwind_step(unwind));
	return count;
}

uint32_t stack_capture(const void *frame, unsigned skip)
{
	uintptr_t frames[STACK_FRAMES_MAX];

	if (!is_ready())
		return 0;
	struct unwind unwind = unwind_from_frame(frame);
	size_t count = frames_walk(&unwind, skip, frames, depot.depth);
	return count > 0 ? stack_keep(frames_hash(frames, count), frames, count) : 0;
}

size_t stack_here(const void *frame, uintptr_t *frames, size_t most)
{
	struct unwind unwind = unwind_from_frame(frame);

	return most > 0 ? frames_walk(&unwind, 0, frames, most) : 0;
}

size_t stack_capture_context(const void *ucontext, uintptr_t *frames, size_t most)
{
	uintptr_t registers[128] = { 0 };
	struct unwind unwind = unwind_from_context(ucontext, registers);

	return most > 0 ? frames_walk(&unwind, 0, frames, most) : 0;
}

size_t stack_frames(uint32_t stack, uintptr_t *frames, size_t most)
{
	if (!is_ready() || stack == 0 || stack >= atomic_load_explicit(&depot.used_words, memory_order_relaxed))
		return 0;
	const struct entry *entry = entry_at(stack);
	const uint8_t *at = entry->bytes;
	size_t count = min_size(entry->count, most);
	uintptr_t frame = 0;

	for (size_t i = 0; i < count; i++)
		frames[i] = frame = decode(&at, frame);
	return count;
}

size_t stack_depot_bytes(void)
{
	return (atomic_load_explicit(&depot.used_words, memory_order_relaxed) - is_ready()) * WORD_BYTES;
}

size_t stack_depot_count(void)
{
	return atomic_load_explicit(&depot.count, memory_order_relaxed);
}

/* ---- Threads ---- */

static uint32_t note_make(int id, const char name[16])
{
	uint64_t words[NAME_WORDS];
	uint32_t number;

	memcpy(words, name, sizeof(words));
	do
		number = atomic_fetch_add_explicit(&depot.newest_note, 1, memory_order_relaxed) + 1;
	while (number == 0);
	struct note *note = &depot.notes[number % NOTE_COUNT];
	atomic_store_explicit(&note->number, 0, memory_order_relaxed);
	atomic_store_explicit(&note->id, id, memory_order_release);
	for (size_t i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(&note->name[i], words[i], memory_order_release);
	atomic_store_explicit(&note->number, number, memory_order_release);
	return number;
}

void thread_note_get(uint32_t number, int *id, char name[16])
{
	uint64_t words[NAME_WORDS];
	struct note *note;

	*id = 0;
	name[0] = 0;
	if (!is_ready() || number == 0)
		return;
	note = &depot.notes[number % NOTE_COUNT];
	if (atomic_load_explicit(&note->number, memory_order_acquire) != number)
		return;
	*id = atomic_load_explicit(&note->id, memory_order_acquire);
	for (size_t i = 0; i < NAME_WORDS; i++)
		words[i] = atomic_load_explicit(&note->name[i], memory_order_acquire);
	memcpy(name, words, sizeof(words));
	if (atomic_load_explicit(&note->number, memory_order_relaxed) != number) {
		*id = 0;
		name[0] = 0;
	}
}

/* The same number while the name is the same. */
static uint32_t note_renew(int id, uint32_t before)
{
	char name[16] = "";
	char name_before[16];
	int id_before;

	if (depot.names)
		os_thread_name(name);
	thread_note_get(before, &id_before, name_before);
	if (id_before == id && strncmp(name, name_before, sizeof(name)) == 0)
		return before;
	return note_make(id, name);
}

uint32_t thread_note(void)
{
	if (!is_ready())
		return 0;
	int id = os_thread_id_quick();
	struct thread_slot *slot = &depot.threads[(uint32_t)id * 2654435761u % THREAD_SLOTS];
	uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
	uint32_t calls = atomic_load_explicit(&slot->calls, memory_order_relaxed);
	bool mine = word >> 32 == (uint32_t)id;

	atomic_store_explicit(&slot->calls, calls + 1, memory_order_relaxed);
	if (mine && calls % NOTE_NAME_CALLS != 0)
		return (uint32_t)word;
	uint32_t note = note_renew(id, mine ? (uint32_t)word : 0);
	atomic_store_explicit(&slot->word, (uint64_t)(uint32_t)id << 32 | note, memory_order_relaxed);
	return note;
}

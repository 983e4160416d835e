/* Reports of misuse: see report.h. Every report names a section of doc/errors.md. */
#include "guard/report.h"

#include <string.h>

#include "base/bits.h"
#include "base/memcheck.h"
#include "base/port.h"
#include "base/text.h"
#include "block/lookup.h"
#include "guard/facts.h"
#include "os/os.h"
#include "quarry/quarry.h"

#define SHORT_BYTES 2048
#define DETAIL_BYTES 128
/* Three stacks of 64 frames with long C++ names, twice. A list of leaks is longer, and cut. */
#define LONG_BYTES (1 * MIB)

/* How long others wait for a thread that is ending the process; then it may be that it doesn't. */
#define ENDING_MS 2000

/* What a report says, beside the facts. */
struct finding {
	const char *title;
	const char *section;    /* of doc/errors.md */
};

static struct {
	struct report_settings settings;
	struct facts *facts;            /* of the thread whose turn it is */
	char *buffer;                   /* LONG_BYTES */
} sink;

/* The handler and its context change together: under the turn. */
static report_handler handler;
static void *handler_context;

/* The thread whose report is being written, 0 if none. */
static _Atomic uint32_t writing;
/* That thread will end the process, and doesn't give its turn away. */
static _Atomic bool ending;

/* False if the thread has it already: it comes from its own report, by a fault or from a handler. */
static bool turn_take(void)
{
	uint32_t thread = (uint32_t)os_thread_id_quick();
	uint32_t other = 0;

	while (!atomic_compare_exchange_strong(&writing, &other, thread)) {
		if (other == thread)
			return false;
		if (atomic_load(&ending)) {
			os_futex_wait_ms(&writing, other, ENDING_MS);
			atomic_compare_exchange_strong(&writing, &other, 0);
		} else {
			port_futex_wait(&writing, other);
		}
		other = 0;
	}
	return true;
}

static void turn_give(bool mine)
{
	if (!mine)
		return;
	atomic_store(&writing, 0);
	port_futex_wake(&writing, UINT32_MAX >> 1);
}

void report_fork_child(void)
{
	atomic_store(&writing, 0);
	atomic_store(&ending, false);
}

/* ---- The start ---- */

void report_configure(const struct report_settings *settings)
{
	sink.settings = *settings;
}

static void *room_make(size_t bytes)
{
	size_t rounded = ROUND_UP(bytes, os_page_bytes());
	void *room = os_reserve(rounded);

	if (room == NULL || os_commit(room, rounded) != 0)
		return NULL;
	memcheck_own(room, rounded);
	return room;
}

void report_prepare(void)
{
	if (sink.facts == NULL)
		sink.facts = room_make(sizeof(*sink.facts));
	if (sink.buffer == NULL)
		sink.buffer = room_make(LONG_BYTES);
	os_program_path();
}

bool report_goes_on(void)
{
	return sink.settings.go_on;
}

void report_set_handler(report_handler new_handler, void *context)
{
	bool mine = turn_take();

	handler = new_handler;
	handler_context = context;
	turn_give(mine);
}

const void *report_handler_context(void)
{
	return handler_context;
}

/* ---- Where it goes ---- */

/* The path with the process's id in place of %p. False if it is too long. */
static bool path_make(char *path, size_t bytes)
{
	struct text text = text_over(path, bytes);

	for (const char *from = sink.settings.path; *from != 0; from++) {
		if (from[0] == '%' && from[1] == 'p') {
			text_decimal(&text, (uint64_t)os_process_id());
			from++;
		} else {
			text_char(&text, *from);
		}
	}
	return text.length < bytes;
}

static bool write_to_file(const struct text *text)
{
	char path[512];

	if (sink.settings.path == NULL || sink.settings.path[0] == 0 || !path_make(path, sizeof(path)))
		return false;
	return os_file_append(path, text->bytes, text_stored(text)) == 0;
}

static void deliver(const struct text *text, const struct quarry_report *told)
{
	if (!write_to_file(text))
		text_write_error(text);
	if (handler != NULL)
		handler(told, handler_context);
}

/* Gives the turn away, or ends the process with it. */
static void finish(bool mine, bool ends)
{
	if (ends && !sink.settings.go_on) {
		atomic_store(&ending, true);
		port_abort();
	}
	turn_give(mine);
}

/* ---- Without guard mode ---- */

static struct finding finding_of(const struct place *place, const void *pointer)
{
	switch (place->kind) {
	case PLACE_METADATA:
		return (struct finding){ "pointer to Quarry's own metadata", "metadata-pointer" };
	case PLACE_RESERVED:
		return (struct finding){ "pointer that was never handed out", "never-allocated" };
	case PLACE_SPAN_FREE:
		return (struct finding){ "pointer to freed memory: its block was freed before, or never handed out", "freed-memory" };
	case PLACE_SLAB_EDGE:
		return (struct finding){ "pointer that no block starts at or contains", "not-a-block" };
	default:
		break;
	}
	if ((uintptr_t)pointer != place->start)
		return (struct finding){ "pointer to the inside of a block, not to its start", "interior-pointer" };
	if (place->fresh)
		return (struct finding){ "pointer that was never handed out", "never-allocated" };
	if (ledger_get(place->state) == LEDGER_LIVE)
		return (struct finding){ "two threads use the block at once: it was freed, and handed out again meanwhile", "race" };
	return (struct finding){ "double free: the block is free already (freed before, or never handed out)", "double-free" };
}

static const char *state_name(uint8_t state, bool fresh)
{
	switch (state) {
	case LEDGER_LIVE:
		return "live";
	case LEDGER_TAIL:
		return "no block";
	default:
		return fresh ? "free, never handed out" : "free";
	}
}

static void say_block(struct text *text, const struct place *place, const void *pointer)
{
	if (place->kind != PLACE_BLOCK)
		return;
	text_format(text, "  block    %p to %p, %z, %s, %s", (const void *)place->start,
	            (const void *)(place->start + place->bytes), (uint64_t)place->bytes,
	            place->span->kind == SPAN_LARGE ? "large" : "small",
	            state_name(ledger_get(place->state), place->fresh));
	uint64_t offset = (uintptr_t)pointer - place->start;
	if (offset != 0)
		text_format(text, "; the pointer is %u byte%s behind its start", offset, offset == 1 ? "" : "s");
	text_char(text, '\n');
}

static void say_thread(struct text *text)
{
	char name[16];

	os_thread_name(name);
	text_format(text, "  thread   %u", (uint64_t)os_thread_id_quick());
	if (name[0] != 0)
		text_format(text, " (%s)", name);
	text_char(text, '\n');
}

static void say_as_text(struct text *text, const char *call, const void *pointer, struct finding finding,
                        const char *detail, const struct place *place)
{
	text_format(text, "quarry: %s(%p): %s\n", call, pointer, finding.title);
	say_block(text, place, pointer);
	if (detail != NULL)
		text_format(text, "  detail   %s\n", detail);
	say_thread(text);
	text_format(text, "  next     run the program with: quarry run --guard -- PROGRAM ARGUMENTS\n"
	                  "  meaning  doc/errors.md#%s\n", finding.section);
}

static void say_as_json(struct text *text, const char *call, const void *pointer, struct finding finding,
                        const char *detail, const struct place *place)
{
	char name[16];

	os_thread_name(name);
	text_format(text, "{\"quarry\":\"report\",\"kind\":\"%s\",\"title\":", finding.section);
	json_string(text, finding.title);
	text_format(text, ",\"process\":%u,\"call\":\"%s\",\"address\":\"%p\"", (uint64_t)os_process_id(), call, pointer);
	if (place->kind == PLACE_BLOCK)
		text_format(text, ",\"block\":{\"state\":\"%s\",\"start\":\"%p\",\"size\":%u}",
		            state_name(ledger_get(place->state), place->fresh), (const void *)place->start,
		            (uint64_t)place->bytes);
	if (detail != NULL)
		text_format(text, ",\"detail\":\"%s\"", detail);
	text_format(text, ",\"here\":{\"frames\":[],\"thread\":%u,\"thread_name\":", (uint64_t)os_thread_id());
	json_string(text, name);
	text_string(text, "},\"meaning\":\"" ERRORS_MANUAL "\"}\n");
}

/* `detail`: one line more, or NULL. */
static void write_finding(const char *call, const void *pointer, struct finding finding, const char *detail,
                          const struct place *place)
{
	char buffer[SHORT_BYTES];
	struct text text = text_over(buffer, sizeof(buffer));

	if (sink.settings.silent)
		return;
	bool mine = turn_take();
	if (sink.settings.json)
		say_as_json(&text, call, pointer, finding, detail, place);
	else
		say_as_text(&text, call, pointer, finding, detail, place);
	deliver(&text, &(struct quarry_report){
		.struct_bytes = sizeof(struct quarry_report),
		.kind = finding.section,
		.title = finding.title,
		.call = call,
		.address = pointer,
		.block = (const void *)place->start,
		.block_size = place->bytes,
		.text = buffer,
		.text_bytes = text_stored(&text),
	});
	finish(mine, true);
}

void report_bad_pointer(const char *call, const void *pointer)
{
	struct place place = place_of(pointer);

	write_finding(call, pointer, finding_of(&place, pointer), NULL, &place);
}

static const char next_default[] = "the pointer was moved, computed or overwritten since it came from its allocation";
static const char next_write[] = "to stop at the write itself: guard_align=1, and guard_sizes= around this size if time is short";
static const char next_form[] =
	"free by the form that belongs to the allocation; with C++ look for a base class without a virtual destructor";

/* What a kind is called, and what to try next. Of an access and a foreign pointer more is known. */
static const struct kind {
	struct finding finding;
	const char *next;
} kinds[] = {
	[REPORT_ACCESS] = { { "wild access: guarded memory was accessed where no block is known", "wild-access" },
		"compare the index or length in the first frame with the size asked for in the stack of the allocation" },
	[REPORT_DOUBLE_FREE] = { { "double free: the block was freed before", "double-free" },
		"the two stacks free the same block: decide which of them owns it" },
	[REPORT_INTERIOR] = { { "pointer to the inside of a block, not to its start", "interior-pointer" }, next_default },
	[REPORT_INVALID] = { { "pointer that no guarded block starts at or contains", "not-a-block" }, next_default },
	[REPORT_FOREIGN] = { { NULL, NULL },
		"give back only what malloc and its like have returned: look where the first frame's pointer comes from" },
	[REPORT_MISMATCHED] = { { "mismatched forms: the block was made by another kind of call", "mismatched-forms" }, next_form },
	[REPORT_WRONG_SIZE] = { { "wrong size: the block was asked for with another size", "wrong-size" }, next_form },
	[REPORT_WRONG_ALIGNMENT] = { { "wrong alignment: the block was asked for with another alignment", "wrong-alignment" }, next_form },
	[REPORT_OVERFLOW] = { { "overflow: bytes behind the block have been overwritten", "overflow" }, next_write },
	[REPORT_UNDERFLOW] = { { "underflow: bytes in front of the block have been overwritten", "underflow" },
		"to stop at the write itself: guard_place=before" },
	[REPORT_WRITTEN_AFTER_FREE] = { { "use after free: bytes of the freed block have been overwritten", "use-after-free" }, next_write },
	[REPORT_LEAKS] = { { "leaks: blocks that nothing points to", "leaks" },
		"the stacks show who asked for what is lost; those that are only possibly lost may be kept by an inner pointer" },
};

static void say_damage(enum report_kind kind, size_t bytes, size_t number, struct text *detail)
{
	switch (kind) {
	case REPORT_OVERFLOW:
		text_format(detail, "byte %u behind the block's %u has changed", (uint64_t)(number - bytes), (uint64_t)bytes);
		break;
	case REPORT_UNDERFLOW:
		text_string(detail, "bytes in front of the block have changed");
		break;
	case REPORT_WRITTEN_AFTER_FREE:
		text_format(detail, "byte %u of %u is not 0; what is free is zero (or a block in front of it overflowed)", (uint64_t)number,
		            (uint64_t)bytes);
		break;
	case REPORT_WRONG_SIZE:
		text_format(detail, "%u said, %u asked for", (uint64_t)number, (uint64_t)bytes);
		break;
	default:
		text_format(detail, "%u said, of a block of %u bytes", (uint64_t)number, (uint64_t)bytes);
	}
}

void report_damage(const char *call, const void *block, enum report_kind kind, size_t bytes, size_t number)
{
	char buffer[DETAIL_BYTES];
	struct text detail = text_over(buffer, sizeof(buffer));
	struct place place = place_of(block);

	say_damage(kind, bytes, number, &detail);
	place.bytes = bytes;
	write_finding(call, block, kinds[kind].finding, buffer, &place);
}

static struct finding foreign_finding(const void *pointer)
{
	if (os_is_own_stack(pointer))
		return (struct finding){ "pointer to this thread's stack", "stack-pointer" };
	if (os_is_in_object(pointer))
		return (struct finding){ "pointer to a program's or library's own data or code", "object-pointer" };
	return (struct finding){ "pointer to memory that no allocator of this process is known to own", "foreign-pointer" };
}

void report_foreign_pointer(const char *call, const void *pointer)
{
	struct place place = { .kind = PLACE_FOREIGN };

	if (guarded_on)
		report(&(struct report){ .kind = REPORT_FOREIGN, .call = call, .pointer = pointer });
	else
		write_finding(call, pointer, foreign_finding(pointer), NULL, &place);
}

/* ---- Guarded blocks ---- */

const char *facts_call_name(enum guard_kind kind)
{
	static const char *const names[] = {
		[GUARD_KIND_MALLOC] = "malloc",
		[GUARD_KIND_NEW] = "operator new",
		[GUARD_KIND_NEW_ARRAY] = "operator new[]",
		[GUARD_KIND_MEMALIGN] = "memalign",
		[GUARD_KIND_NEW_ALIGNED] = "aligned operator new",
		[GUARD_KIND_NEW_ARRAY_ALIGNED] = "aligned operator new[]",
	};

	return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

const char *facts_access_name(enum report_access access)
{
	static const char *const names[] = { [REPORT_ACCESS_UNKNOWN] = "access", [REPORT_READ] = "read",
		                             [REPORT_WRITE] = "write", [REPORT_EXECUTE] = "execution" };

	return names[access];
}

const struct module *facts_module(struct facts *facts, uintptr_t address)
{
	for (size_t i = 0; i < facts->module_count; i++)
		if (address - facts->modules[i].object.start < facts->modules[i].object.end - facts->modules[i].object.start)
			return &facts->modules[i];
	if (facts->module_count == FACTS_MODULES_MAX || !module_of(address, &facts->modules[facts->module_count]))
		return NULL;
	return &facts->modules[facts->module_count++];
}

/* What a kind of report is called, and what helps. An access's depends on where it went. */
static struct finding access_finding(const struct guarded *block, enum relation relation)
{
	if (block->state == GUARDED_FREED)
		return (struct finding){ "use after free: memory of a freed block was accessed", "use-after-free" };
	if (relation == RELATION_BEFORE)
		return (struct finding){ "underflow: memory in front of a block was accessed", "underflow" };
	return (struct finding){ "overflow: memory behind a block was accessed", "overflow" };
}

static struct kind kind_of(const struct report *report, enum relation relation)
{
	struct kind kind = kinds[report->kind];
	bool freed = report->block != NULL && report->block->state == GUARDED_FREED;

	if (report->kind == REPORT_FOREIGN)
		kind.finding = foreign_finding(report->pointer);
	else if (report->kind == REPORT_ACCESS && report->block != NULL)
		kind.finding = access_finding(report->block, relation);
	if (report->kind == REPORT_ACCESS && freed)
		kind.next = "who keeps this pointer after the free? Clear it there, or free later";
	else if (report->kind == REPORT_INTERIOR && freed)
		kind.finding.title = "pointer to the inside of a freed block";
	return kind;
}

static void relate(struct facts *facts, const struct report *report)
{
	const struct guarded *block = report->block;
	uintptr_t address = (uintptr_t)report->pointer;

	if (block == NULL)
		return;
	if (report->kind == REPORT_OVERFLOW || report->kind == REPORT_UNDERFLOW || report->kind == REPORT_WRITTEN_AFTER_FREE)
		address = block->start + (uintptr_t)report->changed_offset;
	if (address < block->start) {
		facts->relation = RELATION_BEFORE;
		facts->distance = block->start - address;
	} else if (address - block->start < block->size) {
		facts->relation = RELATION_INSIDE;
		facts->distance = address - block->start;
	} else {
		/* The start of a block of 0 bytes is its end, too. */
		facts->relation = block->size == 0 && address == block->start ? RELATION_INSIDE : RELATION_BEHIND;
		facts->distance = address - block->start - block->size;
	}
}

/* Bytes around the first that changed: 16 before its line of 16 and 32 behind, in the block's pages. */
static void look_around(struct facts *facts, const struct report *report)
{
	const struct guarded *block = report->block;

	if (block == NULL || (report->kind != REPORT_OVERFLOW && report->kind != REPORT_UNDERFLOW &&
	                      report->kind != REPORT_WRITTEN_AFTER_FREE))
		return;
	uintptr_t changed = block->start + (uintptr_t)report->changed_offset;
	uintptr_t from = ROUND_DOWN(changed, FACTS_BYTES_AROUND) - FACTS_BYTES_AROUND;
	uintptr_t to = from + sizeof(facts->bytes);
	facts->around = from > block->pages ? from : block->pages;
	facts->around_bytes = (to < block->pages_end ? to : block->pages_end) - facts->around;
	memcpy(facts->bytes, (const void *)facts->around, facts->around_bytes);
}

/* The name that was kept, or that the thread has now, if there still is one of that id. */
struct thread_fact facts_thread(uint32_t note)
{
	struct thread_fact thread;

	thread_note_get(note, &thread.id, thread.name);
	if (thread.id != 0 && thread.name[0] == 0)
		os_thread_name_of(thread.id, thread.name);
	return thread;
}

/* A block is not its own neighbour, however far behind it the access was. */
static const void *neighbours_from(const struct facts *facts)
{
	const struct report *report = facts->report;

	if (facts->relation == RELATION_BEFORE || facts->relation == RELATION_BEHIND)
		return (const void *)report->block->start;
	return report->pointer;
}

static void gather(struct facts *facts, const struct report *report, const void *frame)
{
	memset(facts, 0, sizeof(*facts));
	facts->report = report;
	facts->now_ns = os_now_ns();
	relate(facts, report);
	look_around(facts, report);
	struct kind kind = kind_of(report, facts->relation);
	facts->title = kind.finding.title;
	facts->section = kind.finding.section;
	facts->next = kind.next;
	facts->here.thread.id = os_thread_id();
	os_thread_name(facts->here.thread.name);
	if (report->context != NULL)
		facts->here.count = stack_capture_context(report->context, facts->here.frames, STACK_FRAMES_MAX);
	else
		facts->here.count = stack_here(frame, facts->here.frames, STACK_FRAMES_MAX);
	if (report->block != NULL) {
		facts->allocated.thread = facts_thread(report->block->allocated_thread);
		facts->freed.thread = facts_thread(report->block->freed_thread);
		facts->allocated.count = stack_frames(report->block->allocated_by, facts->allocated.frames, STACK_FRAMES_MAX);
		facts->freed.count = stack_frames(report->block->freed_by, facts->freed.frames, STACK_FRAMES_MAX);
	}
	if (report->kind != REPORT_LEAKS && sink.settings.neighbours != NULL)
		sink.settings.neighbours(neighbours_from(facts), &facts->before, &facts->after);
}

void report(const struct report *report)
{
	bool mine = turn_take();
	bool ends = report->kind != REPORT_ACCESS && report->kind != REPORT_LEAKS;

	report_prepare();
	if (!mine || sink.facts == NULL || sink.buffer == NULL) {
		static const char words[] = "quarry: another mistake while one was being reported, or no memory for a report\n";
		port_write_error(words, sizeof(words) - 1);
		finish(mine, true);
		return;
	}
	struct text text = text_over(sink.buffer, LONG_BYTES);
	gather(sink.facts, report, __builtin_frame_address(0));
	if (sink.settings.json)
		report_json(&text, sink.facts);
	else
		report_text(&text, sink.facts);
	deliver(&text, &(struct quarry_report){
		.struct_bytes = sizeof(struct quarry_report),
		.kind = sink.facts->section,
		.title = sink.facts->title,
		.call = report->call,
		.address = report->pointer,
		.block = report->block != NULL ? (const void *)report->block->start : NULL,
		.block_size = report->block != NULL ? report->block->size : 0,
		.text = sink.buffer,
		.text_bytes = text_stored(&text),
	});
	finish(mine, ends);
}

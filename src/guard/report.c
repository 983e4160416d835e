/* Reports of misuse: see report.h. Every report names a section of doc/errors.md. */
#include "guard/report.h"

#include "base/port.h"
#include "base/text.h"
#include "block/lookup.h"
#include "guard/guarded.h"
#include "os/os.h"

#define REPORT_BYTES 1536

/* What a report says, beside the facts. */
struct finding {
	const char *title;
	const char *section;    /* of doc/errors.md */
};

/* The thread whose report is being written, 0 if none. */
static _Atomic uint32_t writing;

static void turn_take(void)
{
	uint32_t thread = (uint32_t)os_thread_id();
	uint32_t other = 0;

	/* A thread that comes here again (from a handler of SIGABRT) goes on. */
	while (!atomic_compare_exchange_weak(&writing, &other, thread) && other != thread) {
		if (other != 0)
			port_futex_wait(&writing, other);
		other = 0;
	}
}

static void turn_give(void)
{
	atomic_store(&writing, 0);
	port_futex_wake(&writing, UINT32_MAX >> 1);
}

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
	text_format(text, "  thread   %u", (uint64_t)os_thread_id());
	if (name[0] != 0)
		text_format(text, " (%s)", name);
	text_char(text, '\n');
}

_Noreturn static void write_and_abort(const char *call, const void *pointer, struct finding finding,
                                      const struct place *place)
{
	char buffer[REPORT_BYTES];
	struct text text = text_over(buffer, sizeof(buffer));

	turn_take();
	text_format(&text, "quarry: %s(%p): %s\n", call, pointer, finding.title);
	say_block(&text, place, pointer);
	say_thread(&text);
	text_format(&text, "  next     run the program with: quarry run --guard -- PROGRAM ARGUMENTS\n"
	                   "  meaning  doc/errors.md#%s\n", finding.section);
	text_write_error(&text);
	turn_give();
	port_abort();
}

_Noreturn void report_bad_pointer(const char *call, const void *pointer)
{
	struct place place = place_of(pointer);

	write_and_abort(call, pointer, finding_of(&place, pointer), &place);
}

_Noreturn void report_foreign_pointer(const char *call, const void *pointer)
{
	struct place place = { .kind = PLACE_FOREIGN };
	struct finding finding = { "pointer to memory that no allocator of this process is known to own", "foreign-pointer" };

	if (os_is_own_stack(pointer))
		finding = (struct finding){ "pointer to this thread's stack", "stack-pointer" };
	else if (os_is_in_object(pointer))
		finding = (struct finding){ "pointer to a program's or library's own data or code", "object-pointer" };
	write_and_abort(call, pointer, finding, &place);
}

/* ---- Guarded blocks ---- */

static const char *const titles[] = {
	[REPORT_DOUBLE_FREE] = "double free: the block is free already",
	[REPORT_INTERIOR] = "pointer to the inside of a block, not to its start",
	[REPORT_INVALID] = "pointer that was never handed out",
	[REPORT_MISMATCHED] = "the block was allocated by a form that this one does not belong to",
	[REPORT_WRONG_SIZE] = "the block was allocated with another size",
	[REPORT_WRONG_ALIGNMENT] = "the block was allocated with another alignment",
	[REPORT_OVERFLOW] = "bytes behind the block were overwritten",
	[REPORT_UNDERFLOW] = "bytes in front of the block were overwritten",
	[REPORT_WRITTEN_AFTER_FREE] = "the block was written to after it was freed",
};

static const char *const forms[] = {
	[GUARD_KIND_MALLOC] = "malloc",
	[GUARD_KIND_NEW] = "operator new",
	[GUARD_KIND_NEW_ARRAY] = "operator new[]",
	[GUARD_KIND_MEMALIGN] = "memalign",
	[GUARD_KIND_NEW_ALIGNED] = "aligned operator new",
	[GUARD_KIND_NEW_ARRAY_ALIGNED] = "aligned operator new[]",
};

static void say_signed(struct text *text, ptrdiff_t value)
{
	if (value < 0)
		text_char(text, '-');
	text_decimal(text, value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value);
}

static void say_guarded(struct text *text, const struct report *report)
{
	const struct guarded *block = report->block;

	text_format(text, "  block    %p to %p, %z, %s, by %s", (const void *)block->start,
	            (const void *)(block->start + block->size), (uint64_t)block->size,
	            block->state == GUARDED_LIVE ? "live" : "freed", forms[block->kind]);
	if (report->kind >= REPORT_OVERFLOW) {
		text_string(text, "; first changed byte at offset ");
		say_signed(text, report->changed_offset);
	} else if ((uintptr_t)report->pointer != block->start) {
		text_string(text, "; the pointer is at offset ");
		say_signed(text, (ptrdiff_t)((uintptr_t)report->pointer - block->start));
	}
	if (report->kind == REPORT_WRONG_SIZE || report->kind == REPORT_WRONG_ALIGNMENT)
		text_format(text, "; the call said %u", (uint64_t)report->said);
	text_char(text, '\n');
}

void report(const struct report *report)
{
	char buffer[REPORT_BYTES];
	struct text text = text_over(buffer, sizeof(buffer));

	turn_take();
	text_format(&text, "quarry: %s(%p): %s\n", report->call, report->pointer, titles[report->kind]);
	if (report->block != NULL)
		say_guarded(&text, report);
	say_thread(&text);
	text_write_error(&text);
	turn_give();
	port_abort();
}

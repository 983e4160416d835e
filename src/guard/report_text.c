/* A report for people: see facts.h. One subject per line, its word first; what belongs to it is indented further. */
#include "guard/facts.h"

#include "base/bits.h"

/* ---- Words ---- */

static void say_age(struct text *text, uint64_t ns)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = { { 3600000000000, "h" }, { 60000000000, "min" }, { 1000000000, "s" }, { 1000000, "ms" }, { 1000, "us" } };

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (ns < units[i].ns)
			continue;
		uint64_t tenths = ns / (units[i].ns / 10);
		text_format(text, "%u.%u %s", tenths / 10, tenths % 10, units[i].unit);
		return;
	}
	text_format(text, "%u ns", ns);
}

static void say_count(struct text *text, uint64_t count, const char *one, const char *many)
{
	text_format(text, "%u %s", count, count == 1 ? one : many);
}

static void say_thread(struct text *text, const struct thread_fact *thread)
{
	if (thread->id == 0) {
		text_string(text, "an unknown thread");
		return;
	}
	text_format(text, "thread %u", (uint64_t)thread->id);
	if (thread->name[0] != 0)
		text_format(text, " (%s)", thread->name);
}

static void say_digits(struct text *text, unsigned char byte)
{
	text_char(text, "0123456789abcdef"[byte >> 4]);
	text_char(text, "0123456789abcdef"[byte & 15]);
}

/* ---- Stacks ---- */

/* The instruction itself, or the call that comes before a return address: its last byte tells which line. */
static void say_frame(struct text *text, struct facts *facts, size_t index, uintptr_t address, bool exact)
{
	uintptr_t inside = address - !exact;
	const struct module *module = facts_module(facts, inside);
	uintptr_t offset;

	text_format(text, "    #%u %p", (uint64_t)index, (const void *)address);
	if (module == NULL) {
		text_string(text, " in no program or library\n");
		return;
	}
	const char *name = module_symbol(module, inside, &offset);
	if (name != NULL)
		text_format(text, " %s+%x", name, (uint64_t)(offset + !exact));
	text_format(text, " (%s+%x)\n", module->path, (uint64_t)(address - module->object.bias));
}

static void say_frames(struct text *text, struct facts *facts, const struct stack_fact *stack, bool exact)
{
	for (size_t i = 0; i < stack->count; i++)
		say_frame(text, facts, i, stack->frames[i], exact && i == 0);
	if (stack->count == 0)
		text_string(text, "    the stack is not known\n");
}

/* ---- Bytes ---- */

static void say_line_of_bytes(struct text *text, uintptr_t address, const unsigned char *bytes, size_t count, uintptr_t marked)
{
	text_format(text, "    %p ", (const void *)address);
	for (size_t i = 0; i < FACTS_BYTES_AROUND; i++) {
		if (i >= count) {
			text_string(text, "   ");
			continue;
		}
		text_char(text, address + i == marked ? '>' : ' ');
		say_digits(text, bytes[i]);
	}
	text_string(text, "  |");
	for (size_t i = 0; i < count; i++)
		text_char(text, bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '.');
	text_string(text, "|\n");
}

static void say_bytes(struct text *text, uintptr_t address, const unsigned char *bytes, size_t count, uintptr_t marked)
{
	for (size_t done = 0; done < count; done += FACTS_BYTES_AROUND)
		say_line_of_bytes(text, address + done, bytes + done, min_size(count - done, FACTS_BYTES_AROUND), marked);
}

/* ---- Lines ---- */

static void say_first_line(struct text *text, const struct facts *facts)
{
	const struct report *report = facts->report;

	if (report->kind == REPORT_ACCESS && report->access_bytes != 0) {
		text_format(text, "quarry: %s of ", facts_access_name(report->access));
		say_count(text, report->access_bytes, "byte", "bytes");
		text_format(text, " at %p: ", report->pointer);
	} else if (report->kind == REPORT_ACCESS) {
		text_format(text, "quarry: %s at %p: ", facts_access_name(report->access), report->pointer);
	} else if (report->kind == REPORT_LEAKS) {
		text_string(text, "quarry: ");
	} else {
		text_format(text, "quarry: %s(%p): ", report->call != NULL ? report->call : "check", report->pointer);
	}
	text_format(text, "%s\n", facts->title);
}

static void say_where(struct text *text, const struct facts *facts)
{
	const struct guarded *block = facts->report->block;
	static const char *const words[] = { [RELATION_BEFORE] = " before the start of", [RELATION_INSIDE] = " inside",
		                             [RELATION_BEHIND] = " behind the end of" };

	text_string(text, "  where    ");
	if (facts->relation == RELATION_BEHIND && facts->distance == 0) {
		text_string(text, "the first byte behind");
	} else if (facts->relation == RELATION_INSIDE && facts->distance == 0) {
		text_string(text, "the start of");
	} else {
		say_count(text, facts->distance, "byte", "bytes");
		text_string(text, words[facts->relation]);
	}
	text_format(text, " a %s block of %z\n", block->state == GUARDED_FREED ? "freed" : "live", (uint64_t)block->size);
}

static void say_block(struct text *text, const struct facts *facts)
{
	const struct guarded *block = facts->report->block;

	text_format(text, "  block    %p to %p, %z, from %s, %s\n", (const void *)block->start,
	            (const void *)(block->start + block->size), (uint64_t)block->size, facts_call_name(block->kind),
	            block->state == GUARDED_FREED ? "freed" : "live");
}

static void say_mistake(struct text *text, const struct facts *facts)
{
	const struct report *report = facts->report;

	switch (report->kind) {
	case REPORT_MISMATCHED:
		text_format(text, "  forms    made by %s, given to %s\n", facts_call_name(report->block->kind), report->call);
		break;
	case REPORT_WRONG_SIZE:
		text_format(text, "  sizes    %u bytes asked for, %u given back\n", (uint64_t)report->block->size,
		            (uint64_t)report->said);
		break;
	case REPORT_WRONG_ALIGNMENT:
		text_format(text, "  aligned  to %u when it was made, to %u when it was given back\n",
		            (uint64_t)report->block->alignment, (uint64_t)report->said);
		break;
	default:
		break;
	}
	if (facts->around_bytes == 0)
		return;
	uintptr_t changed = report->block->start + (uintptr_t)report->changed_offset;
	text_format(text, "  changed  the byte at offset %s%u, %p", report->changed_offset < 0 ? "-" : "",
	            (uint64_t)(report->changed_offset < 0 ? -report->changed_offset : report->changed_offset),
	            (const void *)changed);
	if (report->kind == REPORT_OVERFLOW)
		text_format(text, ", %u behind the block's end", (uint64_t)(changed - report->block->start - report->block->size));
	else if (report->kind == REPORT_UNDERFLOW)
		text_format(text, ", %u before the block's start", (uint64_t)(report->block->start - changed));
	text_format(text, "; it was %x\n", (uint64_t)(report->kind == REPORT_WRITTEN_AFTER_FREE ? 0 : GUARDED_SLACK_BYTE));
	say_bytes(text, facts->around, facts->bytes, facts->around_bytes, changed);
}

static void say_here(struct text *text, struct facts *facts)
{
	bool access = facts->report->kind == REPORT_ACCESS;

	text_format(text, "  %s ", access ? "accessed by" : "found in");
	say_thread(text, &facts->here.thread);
	text_char(text, '\n');
	say_frames(text, facts, &facts->here, access);
}

static void say_history(struct text *text, struct facts *facts)
{
	const struct guarded *block = facts->report->block;

	if (block->state == GUARDED_FREED) {
		text_string(text, "  freed by ");
		say_thread(text, &facts->freed.thread);
		text_string(text, ", ");
		say_age(text, facts->now_ns - block->freed_ns);
		text_string(text, " and ");
		say_count(text, block->frees_since, "free", "frees");
		text_string(text, " ago\n");
		say_frames(text, facts, &facts->freed, false);
	}
	text_string(text, "  allocated by ");
	say_thread(text, &facts->allocated.thread);
	text_string(text, ", ");
	say_age(text, facts->now_ns - block->allocated_ns);
	text_string(text, " ago\n");
	say_frames(text, facts, &facts->allocated, false);
	if (block->state == GUARDED_FREED && block->last_bytes > 0) {
		text_format(text, "  contents when it was freed, the first %u bytes\n", (uint64_t)block->last_bytes);
		say_bytes(text, block->start, block->last, block->last_bytes, 0);
	}
}

static void say_neighbour(struct text *text, const struct facts *facts, const struct guarded *neighbour, const char *word)
{
	uintptr_t address = (uintptr_t)facts->report->pointer;
	struct thread_fact thread;

	if (neighbour->state != GUARDED_LIVE)
		return;
	uintptr_t end = neighbour->start + neighbour->size;
	text_format(text, "  %s%p to %p, %z, from %s, live, ", word, (const void *)neighbour->start, (const void *)end,
	            (uint64_t)neighbour->size, facts_call_name(neighbour->kind));
	if (neighbour->start > address)
		text_format(text, "begins %u bytes further on", (uint64_t)(neighbour->start - address));
	else
		text_format(text, "ends %u bytes before", (uint64_t)(address - end));
	thread = facts_thread(neighbour->allocated_thread);
	text_string(text, "; allocated by ");
	say_thread(text, &thread);
	text_char(text, '\n');
}

enum leak_sum { LEAK_LOST, LEAK_INDIRECTLY, LEAK_POSSIBLY, LEAK_SUMS };

static enum leak_sum leak_sum_of(const struct report_leak *leak)
{
	if (leak->possibly)
		return LEAK_POSSIBLY;
	return leak->indirectly ? LEAK_INDIRECTLY : LEAK_LOST;
}

static void say_leak_amount(struct text *text, const struct report_leak *leak)
{
	text_format(text, "%z in ", leak->bytes);
	say_count(text, leak->blocks, "block", "blocks");
}

static void say_leak_sums(struct text *text, const struct report *report)
{
	struct report_leak sums[LEAK_SUMS] = { 0 };

	for (size_t i = 0; i < report->leak_count; i++) {
		struct report_leak *sum = &sums[leak_sum_of(&report->leaks[i])];
		sum->blocks += report->leaks[i].blocks;
		sum->bytes += report->leaks[i].bytes;
	}
	text_string(text, "  lost     ");
	say_leak_amount(text, &sums[LEAK_LOST]);
	if (sums[LEAK_INDIRECTLY].blocks != 0) {
		text_string(text, ", and ");
		say_leak_amount(text, &sums[LEAK_INDIRECTLY]);
		text_string(text, " that these point to");
	}
	text_string(text, "; possibly ");
	say_leak_amount(text, &sums[LEAK_POSSIBLY]);
	text_char(text, '\n');
}

static void say_leaks(struct text *text, struct facts *facts)
{
	static const char *const words[] = { [LEAK_LOST] = "lost", [LEAK_INDIRECTLY] = "indirectly lost",
		                             [LEAK_POSSIBLY] = "possibly lost" };
	const struct report *report = facts->report;

	say_leak_sums(text, report);
	if (report->deaf_threads != 0) {
		text_string(text, "  unknown  ");
		say_count(text, report->deaf_threads, "thread", "threads");
		text_string(text, " could not be stopped: what seems lost may be in registers there, and is only possibly lost\n");
	}
	for (size_t i = 0; i < report->leak_count; i++) {
		const struct report_leak *leak = &report->leaks[i];
		struct stack_fact *stack = &facts->allocated;

		text_format(text, "  %s ", words[leak_sum_of(leak)]);
		say_leak_amount(text, leak);
		if (leak->stacks != 0) {
			text_string(text, ", allocated by ");
			say_count(text, leak->stacks, "other stack", "other stacks");
			text_char(text, '\n');
			continue;
		}
		text_string(text, ", allocated by\n");
		stack->count = stack_frames(leak->stack, stack->frames, STACK_FRAMES_MAX);
		say_frames(text, facts, stack, false);
	}
}

static void say_modules(struct text *text, const struct facts *facts)
{
	for (size_t i = 0; i < facts->module_count; i++) {
		const struct module *module = &facts->modules[i];
		text_format(text, "  module   %s %p to %p", module->path, (const void *)module->object.start,
		            (const void *)module->object.end);
		text_string(text, module->build_id_bytes > 0 ? " build-id " : "");
		for (size_t k = 0; k < module->build_id_bytes; k++)
			say_digits(text, module->build_id[k]);
		text_char(text, '\n');
	}
}

void report_text(struct text *text, struct facts *facts)
{
	const struct report *report = facts->report;

	say_first_line(text, facts);
	if (report->kind == REPORT_LEAKS) {
		say_leaks(text, facts);
	} else {
		if (report->block != NULL) {
			say_where(text, facts);
			say_block(text, facts);
			say_mistake(text, facts);
		}
		say_here(text, facts);
		if (report->block != NULL)
			say_history(text, facts);
		say_neighbour(text, facts, &facts->before, "below    ");
		say_neighbour(text, facts, &facts->after, "above    ");
	}
	say_modules(text, facts);
	text_format(text, "  next     %s\n  meaning  " ERRORS_MANUAL "#%s\n", facts->next, facts->section);
}

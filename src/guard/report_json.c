/* A report for programs, one JSON object on one line: see facts.h. doc/errors.md lists its members. */
#include "guard/facts.h"

#include "os/os.h"

void json_string(struct text *text, const char *string)
{
	text_char(text, '"');
	for (; *string != 0; string++) {
		unsigned char c = (unsigned char)*string;
		if (c == '"' || c == '\\') {
			text_char(text, '\\');
			text_char(text, *string);
		} else if (c < 0x20 || c >= 0x7f) {
			/* Bytes of names, not characters: each for itself, so that the result is JSON whatever they are. */
			text_string(text, "\\u00");
			text_char(text, "0123456789abcdef"[c >> 4]);
			text_char(text, "0123456789abcdef"[c & 15]);
		} else {
			text_char(text, *string);
		}
	}
	text_char(text, '"');
}

/* Members begin with a comma, but for an object's first: all objects here begin with one that has no other before it. */
static void say_string(struct text *text, const char *name, const char *value)
{
	text_format(text, ",\"%s\":", name);
	json_string(text, value);
}

static void say_number(struct text *text, const char *name, uint64_t value)
{
	text_format(text, ",\"%s\":%u", name, value);
}

/* Addresses don't fit the numbers of many readers. */
static void say_address(struct text *text, const char *name, uintptr_t value)
{
	text_format(text, ",\"%s\":\"%x\"", name, (uint64_t)value);
}

static void say_digits(struct text *text, const char *name, const unsigned char *bytes, size_t count)
{
	text_format(text, ",\"%s\":\"", name);
	for (size_t i = 0; i < count; i++) {
		text_char(text, "0123456789abcdef"[bytes[i] >> 4]);
		text_char(text, "0123456789abcdef"[bytes[i] & 15]);
	}
	text_char(text, '"');
}

static void say_frames(struct text *text, struct facts *facts, const struct stack_fact *stack, bool exact)
{
	text_string(text, "\"frames\":[");
	for (size_t i = 0; i < stack->count; i++) {
		bool precise = exact && i == 0;
		uintptr_t inside = stack->frames[i] - !precise;
		const struct module *module = facts_module(facts, inside);
		uintptr_t offset;

		text_format(text, "%s{\"pc\":\"%x\"", i > 0 ? "," : "", (uint64_t)stack->frames[i]);
		if (module != NULL) {
			const char *name = module_symbol(module, inside, &offset);
			say_string(text, "module", module->path);
			say_address(text, "offset", stack->frames[i] - module->object.bias);
			if (name != NULL) {
				say_string(text, "symbol", name);
				say_number(text, "symbol_offset", offset + !precise);
			}
		}
		text_char(text, '}');
	}
	text_char(text, ']');
}

static void say_stack(struct text *text, struct facts *facts, const char *name, const struct stack_fact *stack, bool exact)
{
	text_format(text, ",\"%s\":{", name);
	say_frames(text, facts, stack, exact);
	say_number(text, "thread", (uint64_t)stack->thread.id);
	say_string(text, "thread_name", stack->thread.name);
	text_char(text, '}');
}

static void say_extent(struct text *text, const char *name, const struct guarded *block)
{
	text_format(text, ",\"%s\":{\"state\":\"%s\"", name, block->state == GUARDED_FREED ? "freed" : "live");
	say_address(text, "start", block->start);
	say_number(text, "size", block->size);
	say_number(text, "alignment", block->alignment);
	say_string(text, "from", facts_call_name(block->kind));
}

static void say_block(struct text *text, struct facts *facts)
{
	static const char *const relations[] = { [RELATION_BEFORE] = "before", [RELATION_INSIDE] = "inside",
		                                 [RELATION_BEHIND] = "behind", [RELATION_NONE] = "none" };
	const struct guarded *block = facts->report->block;

	say_extent(text, "block", block);
	say_string(text, "relation", relations[facts->relation]);
	say_number(text, "distance", facts->distance);
	say_number(text, "allocated_ns_ago", facts->now_ns - block->allocated_ns);
	if (block->state == GUARDED_FREED) {
		say_number(text, "freed_ns_ago", facts->now_ns - block->freed_ns);
		say_number(text, "frees_since", block->frees_since);
		say_digits(text, "last_bytes", block->last, block->last_bytes);
	}
	text_char(text, '}');
}

static void say_mistake(struct text *text, const struct facts *facts)
{
	const struct report *report = facts->report;

	if (report->kind == REPORT_WRONG_SIZE || report->kind == REPORT_WRONG_ALIGNMENT)
		say_number(text, "said", report->said);
	if (facts->around_bytes == 0)
		return;
	say_address(text, "changed_address", report->block->start + (uintptr_t)report->changed_offset);
	say_address(text, "bytes_address", facts->around);
	say_digits(text, "bytes", facts->bytes, facts->around_bytes);
}

static void say_leaks(struct text *text, struct facts *facts)
{
	const struct report *report = facts->report;

	text_string(text, ",\"leaks\":[");
	for (size_t i = 0; i < report->leak_count; i++) {
		const struct report_leak *leak = &report->leaks[i];
		struct stack_fact *stack = &facts->allocated;

		stack->count = stack_frames(leak->stack, stack->frames, STACK_FRAMES_MAX);
		text_string(text, i > 0 ? ",{" : "{");
		say_frames(text, facts, stack, false);
		say_number(text, "blocks", leak->blocks);
		say_number(text, "bytes", leak->bytes);
		if (leak->stacks != 0)
			say_number(text, "stacks", leak->stacks);
		text_format(text, ",\"possibly\":%s,\"indirectly\":%s}", leak->possibly ? "true" : "false",
		            leak->indirectly ? "true" : "false");
	}
	text_char(text, ']');
	say_number(text, "deaf_threads", report->deaf_threads);
}

static void say_modules(struct text *text, const struct facts *facts)
{
	text_string(text, ",\"modules\":[");
	for (size_t i = 0; i < facts->module_count; i++) {
		const struct module *module = &facts->modules[i];
		text_string(text, i > 0 ? ",{\"path\":" : "{\"path\":");
		json_string(text, module->path);
		say_address(text, "start", module->object.start);
		say_address(text, "end", module->object.end);
		say_digits(text, "build_id", module->build_id, module->build_id_bytes);
		text_char(text, '}');
	}
	text_char(text, ']');
}

void report_json(struct text *text, struct facts *facts)
{
	const struct report *report = facts->report;

	text_string(text, "{\"quarry\":\"report\"");
	say_string(text, "kind", facts->section);
	say_string(text, "title", facts->title);
	say_number(text, "process", (uint64_t)os_process_id());
	if (report->call != NULL)
		say_string(text, "call", report->call);
	if (report->kind == REPORT_ACCESS)
		say_string(text, "access", facts_access_name(report->access));
	if (report->access_bytes != 0)
		say_number(text, "access_bytes", report->access_bytes);
	if (report->kind == REPORT_LEAKS) {
		say_leaks(text, facts);
	} else {
		say_address(text, "address", (uintptr_t)report->pointer);
		if (report->block != NULL)
			say_block(text, facts);
		say_mistake(text, facts);
		say_stack(text, facts, "here", &facts->here, report->kind == REPORT_ACCESS);
	}
	if (report->kind != REPORT_LEAKS && report->block != NULL) {
		if (report->block->state == GUARDED_FREED)
			say_stack(text, facts, "freed", &facts->freed, false);
		say_stack(text, facts, "allocated", &facts->allocated, false);
	}
	if (facts->before.state == GUARDED_LIVE) {
		say_extent(text, "below", &facts->before);
		text_char(text, '}');
	}
	if (facts->after.state == GUARDED_LIVE) {
		say_extent(text, "above", &facts->after);
		text_char(text, '}');
	}
	say_modules(text, facts);
	say_string(text, "next", facts->next);
	say_string(text, "meaning", ERRORS_MANUAL);
	text_string(text, "}\n");
}

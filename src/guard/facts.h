/* All that a report on a guarded block says, gathered before it is put in words: by report.c, for report_text.c and
 * report_json.c. */
#ifndef QUARRY_GUARD_FACTS_H
#define QUARRY_GUARD_FACTS_H

#include "base/text.h"
#include "guard/module.h"
#include "guard/report.h"
#include "guard/stack.h"

#define FACTS_MODULES_MAX 64
#define FACTS_BYTES_AROUND 16

struct thread_fact {
	int id;                         /* 0: unknown */
	char name[16];
};

struct stack_fact {
	struct thread_fact thread;
	size_t count;
	uintptr_t frames[STACK_FRAMES_MAX];
};

/* Where the pointer lies, seen from the block. */
enum relation { RELATION_NONE, RELATION_BEFORE, RELATION_INSIDE, RELATION_BEHIND };

struct facts {
	const struct report *report;
	const char *title;
	const char *section;            /* of doc/errors.md */
	const char *next;               /* what to try */
	enum relation relation;
	size_t distance;                /* BEFORE: bytes from the address to the start; INSIDE: from the start; BEHIND: from the
	                                 * first byte behind the block, which is 0 */
	uint64_t now_ns;
	struct stack_fact here;         /* what is wrong was done, or found, here */
	struct stack_fact allocated;
	struct stack_fact freed;
	struct guarded before, after;   /* live neighbours; state NONE: none */
	uintptr_t around;               /* bytes around the first that changed: from here */
	size_t around_bytes;
	unsigned char bytes[4 * FACTS_BYTES_AROUND];
	struct module modules[FACTS_MODULES_MAX];
	size_t module_count;
};

/* The module of an address, among those of the report; NULL if it has none or there are too many. */
const struct module *facts_module(struct facts *facts, uintptr_t address);

/* Who a note of stack.h means. */
struct thread_fact facts_thread(uint32_t note);

const char *facts_access_name(enum report_access access);

void report_text(struct text *text, struct facts *facts);
void report_json(struct text *text, struct facts *facts);

/* A JSON string, with its quotes. */
void json_string(struct text *text, const char *string);

/* The address of the manual. */
#define ERRORS_MANUAL "doc/errors.md"

#endif

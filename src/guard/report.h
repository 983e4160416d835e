/* Reports of misuse: what, which pointer, the block around it, the threads and stacks, what to try next. Written without
 * allocating, async-signal-safe, one at a time. To standard error or the file that the option `report` names, and to the
 * program's own handler. Called by src/api/ and src/guard/ with no lock held. */
#ifndef QUARRY_GUARD_REPORT_H
#define QUARRY_GUARD_REPORT_H

#include "base/compiler.h"
#include "guard/guarded.h"

/* ---- Without guard mode: what the ledger tells ---- */

/* `call` was given a pointer in Quarry's memory that is not the start of a live block. `call` is the function's name
 * as the program knows it. Both return with on_error=warn only. */
COLD void report_bad_pointer(const char *call, const void *pointer);

/* `call` was given a pointer outside Quarry's memory that can't be another allocator's, or that the option
 * foreign=abort forbids. In guard mode with the caller's stack. */
COLD void report_foreign_pointer(const char *call, const void *pointer);

/* ---- Guarded blocks; damage that a security level finds ---- */

enum report_kind {
	REPORT_ACCESS,                  /* a fault; see fault.c */
	REPORT_DOUBLE_FREE,             /* `call` was given a freed block's start; realloc and usable_size too */
	REPORT_INTERIOR,                /* the inside of a block */
	REPORT_INVALID,                 /* guarded memory that no block starts at or contains */
	REPORT_FOREIGN,                 /* memory that is no allocator's: a stack, data, code, or unknown */
	REPORT_MISMATCHED,              /* the block was made by another kind of call */
	REPORT_WRONG_SIZE,              /* `said` another size than was asked for */
	REPORT_WRONG_ALIGNMENT,         /* `said` another alignment, 0: none */
	REPORT_OVERFLOW,                /* bytes behind the block have changed: the first at changed_offset */
	REPORT_UNDERFLOW,               /* bytes before it have */
	REPORT_WRITTEN_AFTER_FREE,      /* bytes of a freed block that could not be made inaccessible have */
	REPORT_LEAKS,                   /* blocks that nothing points to; never ends the process */
};

enum report_access { REPORT_ACCESS_UNKNOWN, REPORT_READ, REPORT_WRITE, REPORT_EXECUTE };

/* Lost blocks that one stack has made. */
struct report_leak {
	uint32_t stack;                 /* stack.h */
	uint64_t blocks;
	uint64_t bytes;
	bool possibly;                  /* only pointers to their insides were found */
	bool indirectly;                /* other lost blocks point to them */
	uint64_t stacks;                /* 0; or so many stacks' together, that are not told one by one */
};

struct report {
	enum report_kind kind;
	const char *call;               /* the function that the program called; ACCESS: NULL */
	const void *pointer;            /* that it gave, or that it accessed */
	const struct guarded *block;    /* NULL if none is known */
	ptrdiff_t changed_offset;       /* OVERFLOW, UNDERFLOW, WRITTEN_AFTER_FREE: from the block's start */
	size_t said;                    /* WRONG_SIZE, WRONG_ALIGNMENT */
	enum report_access access;      /* ACCESS */
	size_t access_bytes;            /* ACCESS: how many; 0 if unknown */
	const void *context;            /* ACCESS: the handler's ucontext_t; else the stack is the caller's */
	const struct report_leak *leaks;
	size_t leak_count;
	size_t deaf_threads;            /* LEAKS: that could not be looked at */
};

/* Writes the report, then ends the process by SIGABRT unless on_error=warn. Returns after ACCESS and LEAKS in any case:
 * who handles a fault ends the process as it would have ended. */
COLD void report(const struct report *report);

/* What a security level has found of a block of so many bytes: OVERFLOW, UNDERFLOW, WRITTEN_AFTER_FREE (number is the offset of the
 * first byte that has changed), WRONG_SIZE, WRONG_ALIGNMENT (number is what was said). Returns unless on_error=abort. */
COLD void report_damage(const char *call, const void *block, enum report_kind kind, size_t bytes, size_t number);

/* ---- The start ---- */

struct report_settings {
	const char *path;               /* the option `report`; must stay. "" is standard error */
	bool json;
	bool go_on;                     /* on_error=warn, ignore */
	bool silent;                    /* on_error=ignore: only what guard mode finds is written */
	/* guarded_neighbours, where there are guarded blocks; else NULL */
	bool (*neighbours)(const void *address, struct guarded *before, struct guarded *after);
};

/* Once. Before, all is written as text to standard error and ends the process. */
void report_configure(const struct report_settings *settings);
/* In guard mode also: makes room for long reports. */
void report_prepare(void);
bool report_goes_on(void);
/* In the child of a fork: a report that another thread was writing is none of ours. */
void report_fork_child(void);

/* What quarry_set_report_handler has set: called after a report was written, on the thread that made it. */
struct quarry_report;
typedef void (*report_handler)(const struct quarry_report *report, void *context);
void report_set_handler(report_handler handler, void *context);
const void *report_handler_context(void);

/* The function that makes blocks of a kind. */
const char *facts_call_name(enum guard_kind kind);

#endif

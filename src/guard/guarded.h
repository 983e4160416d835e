/* Guarded blocks: each stands alone against an inaccessible page, is checked when it is freed, and stays inaccessible for
 * long after. Made and freed by src/api/ when guard mode is on, looked up by report.c, counted by src/observe/.
 *
 * At which end the block touches its guard is a matter of options; the bytes of its pages around it are filled with
 * GUARDED_SLACK_BYTE and looked at when it is freed, and at the process's end. */
#ifndef QUARRY_GUARD_GUARDED_H
#define QUARRY_GUARD_GUARDED_H

#include "base/compiler.h"
#include "base/options.h"
#include "guard/slots.h"

enum guard_kind {
	GUARD_KIND_MALLOC,
	GUARD_KIND_NEW,
	GUARD_KIND_NEW_ARRAY,
	GUARD_KIND_MEMALIGN,
	GUARD_KIND_NEW_ALIGNED,
	GUARD_KIND_NEW_ARRAY_ALIGNED,
};

enum guarded_state { GUARDED_NONE, GUARDED_LIVE, GUARDED_FREED };

/* Around a block; in a new one. Neither is 0, a letter, or likely in a pointer. */
#define GUARDED_SLACK_BYTE 0xd7
#define GUARDED_FILL_BYTE 0xcb

/* What is known of the guarded block at, around, before or behind an address (a copy). */
struct guarded {
	enum guarded_state state;
	enum guard_kind kind;
	uintptr_t start;                /* of the block */
	size_t size;                    /* as requested */
	size_t alignment;
	uintptr_t pages, pages_end;     /* its accessible pages */
	uint32_t allocated_by;          /* stacks: stack.h, 0 unknown */
	uint32_t freed_by;
	uint32_t allocated_thread;      /* numbers of thread notes: stack.h */
	uint32_t freed_thread;
	uint64_t allocated_ns;          /* os_now_ns */
	uint64_t freed_ns;
	uint64_t frees_since;           /* frees of guarded blocks since its own */
	unsigned char last[64];         /* first bytes when it was freed, as far as kept: for the newest 64 Ki frees */
	size_t last_bytes;
};

/* ---- The start ---- */

/* Guard mode, or sampling (sample.h), is on. Immutable after guarded_configure. */
HIDDEN extern bool guarded_on;

/* How much memory the stacks of sampled blocks may take. */
#define GUARDED_SAMPLED_DEPOT_BYTES ((size_t)4 << 20)

/* Once, before the second thread. The options must stay where they are; without `guard` it is for sampled blocks, and of
 * a fixed size. Without address space a line says that nothing will be guarded. */
void guarded_configure(const struct options *options);

/* The program brings operators new and delete of its own, but not all of them: who frees what is not known then, and only
 * the C library's names are checked against what they free. */
void guarded_forms_unknown(void);

/* ---- Blocks ---- */

struct guarded_request {
	size_t size;
	size_t alignment;               /* a power of two; 0: nothing was asked for */
	enum guard_kind kind;
	bool zeroed;
	const void *caller;             /* of the function that was called, or in Quarry itself */
};

/* A block, or NULL if this one is not to be guarded or can't be: then it is made as without guard mode. */
void *guarded_make(const struct guarded_request *request);

/* What a program said when it freed. */
struct guarded_release {
	const char *call;               /* name of the function that was called */
	size_t size;                    /* GUARDED_UNSAID: not said */
	size_t alignment;               /* 0: not said */
};
#define GUARDED_UNSAID SIZE_MAX

/* Whether the address is in guarded memory, whoever's. No lock. */
static inline bool guarded_owns(const void *address)
{
	return (uintptr_t)address - slots_base < slots_bytes;
}

/* Frees the block, or reports. Does not touch errno, nor do the next two. */
void guarded_free(void *block, const struct guarded_release *release);

/* The size that was requested; reports what is not a live block's start, and is 0 then if that returns. */
size_t guarded_size(const void *block, const char *call);

/* Whether realloc may take the block; reports if not. */
bool guarded_may_resize(const void *block, const char *call, size_t *size);

/* ---- Looking ---- */

/* The block whose slot (with the guard behind it, and if nearer the one before it) holds the address. False: none.
 * Needs no lock, safe in a signal handler. */
bool guarded_find(const void *address, struct guarded *found);

/* The nearest live ones; state GUARDED_NONE where there is none near. Whether there is any. */
bool guarded_neighbours(const void *address, struct guarded *before, struct guarded *after);

/* A live block, as leak finding wants it. */
struct guarded_live {
	size_t number;                  /* 1 to guarded_numbers() */
	uintptr_t start;
	size_t size;
	enum guard_kind kind;
	size_t alignment;
	uint32_t allocated_by;
	uint64_t allocated_ns;
};
size_t guarded_numbers(void);
/* The live block of that number; the one that contains the address (of 0 bytes: starts there). False if there is none.
 * No lock. */
bool guarded_live_number(size_t number, struct guarded_live *live);
bool guarded_live_at(uintptr_t address, struct guarded_live *live);
/* The address is in memory of guard mode's own, that no block is in. */
bool guarded_is_table(const void *address);

/* Whether the address is in guarded memory or the guard in front of it; makes the page of an address accessible, because the program goes on after a report, false
 * if it can't: for fault.h. */
bool guarded_is_owner(const void *address);
bool guarded_open(const void *address);

/* Looks at the bytes around all live blocks, and reports. */
void guarded_check_all(const char *call);

/* As walk_live (observe/walk.h). */
int guarded_walk(int (*visit)(void *block, size_t size, void *context), void *context);

struct guarded_figures {
	size_t live_blocks;
	size_t live_bytes;              /* requested */
	size_t live_page_bytes;         /* their pages */
	struct slots_figures slots;
};
struct guarded_figures guarded_figures(void);

#endif

/* Where guarded blocks live: slots of whole pages in an arena of their own, each with a guard behind it, a record of 64
 * bytes for each, and an index that finds the record from any address. Called by guarded.c alone.
 *
 *   reservation: | records | index of pages | last bytes | guard | arena ................................ | guard |
 *   arena:       | slot 1's pages | guard | slot 2's spare pages (guards), its block's pages | guard | ... never used
 *
 * The guard between two neighbours serves both. Slots are never joined or split, so the records lie in address order,
 * and the index is written once. What is never touched costs no memory, and nothing is charged for it where overcommit
 * is not strict.
 *
 * A slot goes round: taken, open (its block's pages are accessible), closed (inaccessible, without memory), in the
 * quarantine, in the list of free slots of its size. The lists need slots_lock, inside of which nothing is purged and no
 * guard made; what else there is in a record belongs to whoever took the slot, or turned its state from LIVE. */
#ifndef QUARRY_GUARD_SLOTS_H
#define QUARRY_GUARD_SLOTS_H

#include <stdatomic.h>

#include "base/compiler.h"
#include "base/lock.h"

enum record_state {
	RECORD_TAKEN,           /* fresh, or being made into a block again */
	RECORD_LIVE,
	RECORD_CHECKED,         /* live, and somebody looks at its pages: whoever frees waits for a moment */
	RECORD_FREEING,
	RECORD_FREED,           /* in the quarantine, or in a free list: what was there is still known */
};

/* Written by who has the slot before the state says LIVE (release), or FREED; `next` and `freed_number` under slots_lock. */
struct record {
	uint32_t slot_page;             /* first page, in the arena; immutable */
	uint32_t slot_pages;            /* without the guard behind; immutable */
	uint32_t next;
	uint32_t freed_number;          /* its free was the so many-th */
	uint32_t page;                  /* the first that is accessible while it lives */
	uint16_t offset;                /* of the block in it */
	_Atomic uint8_t state;          /* enum record_state */
	uint8_t kind : 4;               /* enum guard_kind */
	bool fenced : 1;                /* a guard stands on both sides of the pages */
	bool open : 1;                  /* the pages are accessible though it is freed: no guard could be made */
	bool used : 1;                  /* there is, or was, a block */
	bool padded : 1;                /* UNFENCED_BYTES lie behind the block */
	uint64_t size : 48;             /* as requested */
	uint64_t alignment_log2 : 8;
	uint64_t second_place : 1;      /* account.h */
	uint32_t allocated_by;          /* stack.h, like those below */
	uint32_t freed_by;
	uint32_t allocated_thread;
	uint32_t freed_thread;
	uint64_t allocated_ns;
	uint64_t freed_ns;
};

_Static_assert(sizeof(struct record) == 64, "a line for each slot");

/* Behind a block without a guard lie at least so many bytes that are checked. */
#define UNFENCED_BYTES ((size_t)32)

/* What guards are made of. */
enum slots_guards { SLOTS_GUARDS_MARKERS, SLOTS_GUARDS_PROTECTION, SLOTS_GUARDS_NONE };

struct slots_settings {
	size_t bytes;                   /* of the arena, better; halved until the kernel agrees */
	enum slots_guards guards;
	size_t guards_max;              /* PROTECTION: so many may be made */
	size_t quarantine_bytes;
	size_t last_count;              /* first bytes are kept of so many frees, the newest */
};

/* The arena; 0 bytes without guard mode. Immutable once slots_init has returned. */
HIDDEN extern uintptr_t slots_base;
HIDDEN extern size_t slots_bytes;

HIDDEN extern struct lock slots_lock;

/* Once, before the second thread. False if there is no address space: then nothing is ever guarded. */
bool slots_init(const struct slots_settings *settings);

/* Whether a new slot is likely to get its guard. Where not, room for UNFENCED_BYTES is asked for. */
bool slots_fences(void);

/* A slot of at least so many pages, in state TAKEN. NULL if memory or address space is short. */
struct record *slot_take(size_t pages);
/* Gives back one that no block was made in. */
void slot_untake(struct record *record);

/* Makes the pages of the slot from `page` on accessible, and guards of all others; says in `fenced` whether that went
 * well. The pages are zero. False if the system refuses: give the slot back. */
bool slot_open(struct record *record, size_t page, size_t pages);
/* Makes the pages inaccessible and gives their memory back; says in `open` if they stay accessible. */
void slot_close(struct record *record, size_t pages);
/* A closed slot's state becomes FREED, and it waits in the quarantine. `last`: the block's first bytes. */
void slot_quarantine(struct record *record, const unsigned char *last, size_t last_bytes);

/* First bytes of a freed block, as far as they are kept; returns how many. */
size_t slot_last_bytes(const struct record *record, unsigned char *last);

/* The record of the slot that the page, or the guard behind it, is in; NULL if there is none. No lock. */
struct record *slot_record(uintptr_t address);
/* Records by number, from 1 on, in address order. */
size_t slots_count(void);
struct record *slot_at(size_t number);
size_t slot_number(const struct record *record);

/* Frees of guarded blocks so far. */
uint32_t slots_frees(void);

/* Whether the address lies in the tables in front of the arena. */
bool slots_is_table(const void *address);

struct slots_figures {
	size_t slots;
	size_t quarantined;             /* slots, and their address space */
	size_t quarantined_bytes;
	size_t table_bytes;             /* accessible part of the tables */
	size_t guards;                  /* PROTECTION: that were made */
};
struct slots_figures slots_figures(void);

#endif

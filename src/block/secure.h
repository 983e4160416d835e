/* The security levels' settings, and what they do to one block: canary, zeros, what was asked for. doc/design.md tells how
 * the parts fit, doc/security.md what is promised. Used by slab.c, large.c and its parts, src/thread/ and src/api/.
 *
 *   a small block:    | what was asked for | canary, 8 bytes | zeros |
 *                     |<------------------ class size -------------->|      slack = class size - what was asked for
 *   behind a header:  | ledger | aged | slack, low bytes | slack, high bytes (classes above 1 KiB) |
 */
#ifndef QUARRY_BLOCK_SECURE_H
#define QUARRY_BLOCK_SECURE_H

#include <string.h>

#include "base/bits.h"
#include "base/options.h"
#include "base/chacha.h"
#include "block/ledger.h"
#include "block/sizeclass.h"

enum secure_guards { SECURE_GUARDS_NONE, SECURE_GUARDS_BEHIND, SECURE_GUARDS_AROUND };

/* Blocks up to here take short ways with level 1. */
#define SECURE_QUICK_BYTES ((size_t)1024)
#define SECURE_QUICK_CLASSES (CLASS_OF_1024 + 1)

/* Written by secure_configure, then sealed. */
struct secure {
	/* First, in one line: what the short ways read. */
	bool on;                        /* some level: all else means nothing without */
	bool quick;                     /* level 1 with all its checks, and no guarded blocks: the short ways serve */
	bool zero;
	bool verify;
	bool canary;
	bool random;
	bool hides_large;               /* freed large blocks stay inaccessible for a while */
	bool rest;                      /* the slack behind the canary is looked at when a block is freed */
	bool said;                      /* size and alignment that a free says are checked */
	bool wide;                      /* the machine has vectors of 32 bytes */
	uint8_t guards;                 /* enum secure_guards */
	uint8_t choice_max;             /* what random places choose from, at most */
	const char *single_threaded;    /* os_single_threaded_flag */
	size_t canary_bytes;            /* that a request is raised by */
	uint64_t keys[2];               /* of canaries; the second is odd */
	size_t quarantine_bytes;        /* of a heap; 0: none */
	size_t quarantine_blocks;
	size_t guard_bytes;             /* a page; 0 where guards can't be made, or would take too much */
	size_t large_lead_bytes;        /* what a large block's span has for them, and for its canary */
	size_t large_trailer_bytes;
	struct {
		uint16_t bytes;
		uint16_t slack_at;      /* from a block's state to its slack */
		uint16_t choice;
		uint16_t unused;        /* eight bytes: no multiplication */
	} quick_classes[SECURE_QUICK_CLASSES];
} ALIGNED(SEAL_ALIGNMENT);

HIDDEN extern struct secure secure;

/* Before the first block, if a level is asked for. */
void secure_configure(const struct options *options);

/* Guarded blocks come before short ways. */
void secure_guarded(void);

/* Another stream for each that asks. By src/block/ and src/thread/, before a sandbox or after. */
void secure_random_start(struct chacha *random);
/* Under space_lock. */
HIDDEN extern struct chacha secure_space_random;

/* Before a fork, and in its child. */
void secure_fork_prepare(bool single_threaded);
void secure_fork_child(void);

/* The process is the child of a fork by one with several threads. The kernel copies memory page by page while the others write:
 * ledger, slack and blocks need not agree there. What doesn't is mended and not reported. */
HIDDEN extern bool secure_doubtful;

/* With random places one of so many is handed out, as far as there are. */
ALWAYS_INLINE size_t secure_choice(unsigned class_index)
{
	return min_size(size_classes[class_index].choice, secure.choice_max);
}

/* ---- What was asked for ---- */

#define CANARY_BYTES sizeof(uint64_t)
/* Blocks of ordinary classes up to here have less than 256 bytes of slack. */
#define SECURE_NARROW_CLASSES SECURE_QUICK_CLASSES

/* What a slab's header has behind its ledger and the word for granules. */
static inline size_t secure_slack_bytes(unsigned class_index)
{
	return secure.on ? size_classes[class_index].ledger_bytes * (class_index < SECURE_NARROW_CLASSES ? 1u : 2u) : 0;
}

static inline uint8_t *secure_slack_at(ledger_byte *state, const struct size_class *size_class)
{
	return (uint8_t *)state + size_class->ledger_bytes + sizeof(uint64_t);
}

/* By who holds the block. */
ALWAYS_INLINE size_t secure_slack(ledger_byte *state, unsigned class_index)
{
	const struct size_class *size_class = &size_classes[class_index];
	const uint8_t *slack = secure_slack_at(state, size_class);

	return class_index < SECURE_NARROW_CLASSES ? *slack : *slack + ((size_t)slack[size_class->ledger_bytes] << 8);
}

ALWAYS_INLINE void secure_set_slack(ledger_byte *state, unsigned class_index, size_t slack)
{
	const struct size_class *size_class = &size_classes[class_index];
	uint8_t *at = secure_slack_at(state, size_class);

	*at = (uint8_t)slack;
	if (class_index >= SECURE_NARROW_CLASSES)
		at[size_class->ledger_bytes] = (uint8_t)(slack >> 8);
}

/* What was asked for of a live block; what may be used of it without a level. */
static inline size_t secure_asked(const struct span *span, const ledger_byte *state)
{
	if (UNLIKELY(span->secured))
		return state == &span->large_state ? span->asked_bytes
		                                   : span->block_bytes - secure_slack((ledger_byte *)(uintptr_t)state, span->class_index);
	return state == &span->large_state ? span->large_bytes : span->block_bytes;
}

/* ---- Canary ---- */

/* Of a block at this address. Its first byte is not 0, so that a string's end that is one too far shows. */
ALWAYS_INLINE uint64_t secure_canary(const void *block)
{
	uint64_t mixed = ((uintptr_t)block ^ secure.keys[0]) * secure.keys[1];

	return (mixed ^ mixed >> 32) | 1;
}

ALWAYS_INLINE void secure_set_canary(void *block, size_t asked)
{
	uint64_t canary = secure_canary(block);

	memcpy((char *)block + asked, &canary, sizeof(canary));
}

ALWAYS_INLINE bool secure_canary_stands(const void *block, size_t asked)
{
	uint64_t found;

	memcpy(&found, (const char *)block + asked, sizeof(found));
	return found == secure_canary(block);
}

/* Where the slack was changed first, from the block's start, which has so many bytes in its class; those if nowhere. What
 * lies behind the canary is zero. */
size_t secure_slack_changed(const void *block, size_t asked, size_t bytes);

/* ---- Zeros ---- */

/* Up to here a block is short or middling. */
#define SECURE_SHORT_BYTES ((size_t)64)
#define SECURE_MIDDLE_BYTES ((size_t)256)

#define ZEROS(name) name
#define ZEROS_TARGET
#define ZEROS_BYTES 16
#define ZEROS_NONE(vector) (((vector)[0] | (vector)[1]) == 0)
#include "block/secure_zeros.h"

/* The same by wide vectors, in functions of SECURE_WIDE, which run where secure.wide says so. */
#if defined(__x86_64__)
#define SECURE_WIDE __attribute__((target("avx2")))
typedef long long secure_bits __attribute__((vector_size(32)));
#define ZEROS(name) name##_wide
#define ZEROS_TARGET SECURE_WIDE
#define ZEROS_BYTES 32
#define ZEROS_NONE(vector) __builtin_ia32_ptestz256((secure_bits)(vector), (secure_bits)(vector))
#include "block/secure_zeros.h"
#endif

/* bytes is a multiple of 16, and the block aligned to it. */
bool secure_is_zero(const void *block, size_t bytes);

/* The first byte that is not 0, from the start; `bytes` if there is none. */
size_t secure_first_nonzero(const void *block, size_t bytes);

#endif

/* The ledger eight bytes at a time. The bytes are written one by one by several threads; a word that is read here is a
 * snapshot of them. Ledgers are aligned to 8 bytes and padded to a multiple of 8. For ledger.c and slab.c. */
#ifndef QUARRY_BLOCK_LEDGER_WORD_H
#define QUARRY_BLOCK_LEDGER_WORD_H

#include "base/bits.h"
#include "block/ledger.h"

#define LEDGER_ONES ((uint64_t)0x0101010101010101)
#define LEDGER_WORD_BYTES 8

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the byte of the lowest index must be the lowest of its word"
#endif

#if defined(__SANITIZE_THREAD__)
#define LEDGER_BYTE_BY_BYTE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEDGER_BYTE_BY_BYTE 1
#endif
#endif

/* ThreadSanitizer knows no fences, and pairs only accesses of one address: it gets acquire loads of bytes. */
static inline uint64_t word_at(const ledger_byte *ledger, size_t index)
{
#ifdef LEDGER_BYTE_BY_BYTE
	uint64_t word = 0;

	for (unsigned i = 0; i < LEDGER_WORD_BYTES; i++)
		word |= (uint64_t)atomic_load_explicit(&ledger[index + i], memory_order_acquire) << i * 8;
	return word;
#else
	return __atomic_load_n((const uint64_t *)(const void *)(ledger + index), __ATOMIC_RELAXED);
#endif
}

/* 1 in each byte that is not 0; states are below 8, so three bits decide. */
static inline uint64_t nonzero_bytes(uint64_t word)
{
	return (word | word >> 1 | word >> 2) & LEDGER_ONES;
}

/* 1 in each byte that equals `state`. */
static inline uint64_t equal_bytes(uint64_t word, uint8_t state)
{
	return nonzero_bytes(word ^ (state * LEDGER_ONES)) ^ LEDGER_ONES;
}

/* 1 in each byte of the word that starts at `index` and lies in [first, end). */
static inline uint64_t bytes_within(size_t index, size_t first, size_t end)
{
	uint64_t mask = LEDGER_ONES;

	if (index < first)
		mask &= ~(uint64_t)0 << (first - index) * 8;
	if (index + LEDGER_WORD_BYTES > end)
		mask &= ~(uint64_t)0 >> (index + LEDGER_WORD_BYTES - end) * 8;
	return mask;
}

/* Under the claim: turns the first FREE bytes of the word at `at`, at most `wanted` of them, to CACHED, or to
 * `fresh_state` from fresh_index on. Returns 1 in each byte that it took. */
static inline uint64_t word_take(ledger_byte *ledger, size_t at, size_t wanted, size_t fresh_index, uint8_t fresh_state)
{
	uint64_t hits = equal_bytes(word_at(ledger, at), LEDGER_FREE);
	uint64_t taken = 0;

	for (; hits != 0 && wanted > 0; hits &= hits - 1, wanted--) {
		size_t index = at + (size_t)__builtin_ctzll(hits) / 8;
		ledger_set(&ledger[index], index < fresh_index ? LEDGER_CACHED : fresh_state);
		taken |= hits & (0 - hits);
	}
	return taken;
}

/* The same for a word that is all FREE. Only who holds the claim writes to a FREE byte, so it is written at once. False,
 * and nothing done, if it is not, or lies across fresh_index. */
static inline bool word_take_whole(ledger_byte *ledger, size_t at, size_t fresh_index, uint8_t fresh_state)
{
	_Static_assert(LEDGER_FREE == 0, "a word of FREE is 0");
	bool fresh = at >= fresh_index;

	if (word_at(ledger, at) != 0 || (!fresh && at + LEDGER_WORD_BYTES > fresh_index))
		return false;
#ifdef LEDGER_BYTE_BY_BYTE
	word_take(ledger, at, LEDGER_WORD_BYTES, fresh_index, fresh_state);
#else
	uint64_t word = LEDGER_ONES * (fresh ? fresh_state : LEDGER_CACHED);
	__atomic_store_n((uint64_t *)(void *)(ledger + at), word, __ATOMIC_RELAXED);
#endif
	return true;
}

#endif

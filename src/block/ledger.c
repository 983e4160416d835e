/* Counting and finding states, eight bytes at a time: see ledger.h.
 *
 * The ledger's bytes are written one by one by several threads; the words read here are snapshots of them, which is
 * all that counting needs. Ledgers are aligned to 8 bytes and padded to a multiple of 8. */
#include "block/ledger.h"

#define ONES ((uint64_t)0x0101010101010101)
#define WORD_BYTES 8

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the byte of the lowest index must be the lowest of its word"
#endif

_Atomic uint32_t ledger_epoch = 1;

#if defined(__SANITIZE_THREAD__)
#define BYTE_BY_BYTE 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BYTE_BY_BYTE 1
#endif
#endif

/* ThreadSanitizer knows no fences, and pairs only accesses of one address: it gets acquire loads of bytes. */
static uint64_t word_at(const ledger_byte *ledger, size_t index)
{
#ifdef BYTE_BY_BYTE
	uint64_t word = 0;

	for (unsigned i = 0; i < WORD_BYTES; i++)
		word |= (uint64_t)atomic_load_explicit(&ledger[index + i], memory_order_acquire) << i * 8;
	return word;
#else
	return __atomic_load_n((const uint64_t *)(const void *)(ledger + index), __ATOMIC_RELAXED);
#endif
}

/* 1 in each byte that is not 0; states are below 8, so three bits decide. */
static uint64_t nonzero_bytes(uint64_t word)
{
	return (word | word >> 1 | word >> 2) & ONES;
}

/* 1 in each byte that equals `state`. */
static uint64_t equal_bytes(uint64_t word, uint8_t state)
{
	return nonzero_bytes(word ^ (state * ONES)) ^ ONES;
}

/* 1 in each byte of the word that starts at `index` and lies in [first, end). */
static uint64_t bytes_within(size_t index, size_t first, size_t end)
{
	uint64_t mask = ONES;

	if (index < first)
		mask &= ~(uint64_t)0 << (first - index) * 8;
	if (index + WORD_BYTES > end)
		mask &= ~(uint64_t)0 >> (index + WORD_BYTES - end) * 8;
	return mask;
}

#define COUNT_BYTES(ledger, first, count, matches) \
	size_t end_ = (first) + (count); \
	size_t total_ = 0; \
	for (size_t index = ROUND_DOWN(first, WORD_BYTES); index < end_; index += WORD_BYTES) { \
		uint64_t word = word_at(ledger, index); \
		total_ += ((matches)&bytes_within(index, first, end_)) * ONES >> 56; \
	}

size_t ledger_count_free(const ledger_byte *ledger, size_t first, size_t count)
{
	COUNT_BYTES(ledger, first, count, equal_bytes(word, LEDGER_FREE))
	atomic_thread_fence(memory_order_acquire);
	return total_;
}

size_t ledger_count_live(const ledger_byte *ledger, size_t first, size_t count)
{
	COUNT_BYTES(ledger, first, count, equal_bytes(word, LEDGER_LIVE))
	return total_;
}

size_t ledger_count_cached(const ledger_byte *ledger, size_t first, size_t count)
{
	COUNT_BYTES(ledger, first, count, equal_bytes(word & ~ONES, LEDGER_CACHED))
	return total_;
}

size_t ledger_find_free(const ledger_byte *ledger, size_t first, size_t end)
{
	for (size_t index = ROUND_DOWN(first, WORD_BYTES); index < end; index += WORD_BYTES) {
		uint64_t hits = equal_bytes(word_at(ledger, index), LEDGER_FREE) & bytes_within(index, first, end);
		if (hits != 0)
			return index + (size_t)__builtin_ctzll(hits) / 8;
	}
	return end;
}

size_t ledger_take_run(ledger_byte *ledger, size_t *index, size_t end, size_t wanted, size_t fresh_index,
                       uint8_t fresh_state)
{
	size_t first = *index;

	for (size_t at = ROUND_DOWN(first, WORD_BYTES); at < end; at += WORD_BYTES) {
		uint64_t hits = equal_bytes(word_at(ledger, at), LEDGER_FREE) & bytes_within(at, first, end);
		if (hits == 0)
			continue;
		size_t start = (size_t)__builtin_ctzll(hits) / 8;
		uint64_t holes = ~(hits >> start * 8) & ONES;
		size_t run = holes == 0 ? WORD_BYTES : (size_t)__builtin_ctzll(holes) / 8;
		*index = at + start;
		run = min_size(run, wanted);
		for (size_t i = *index; i < *index + run; i++)
			ledger_set(&ledger[i], i < fresh_index ? LEDGER_CACHED : fresh_state);
		return run;
	}
	*index = end;
	return 0;
}

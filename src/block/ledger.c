/* Counting states, eight bytes at a time: see ledger.h. */
#include "block/ledger_word.h"

_Atomic uint32_t ledger_epoch = 1;

#define COUNT_BYTES(ledger, first, count, matches) \
	size_t end_ = (first) + (count); \
	size_t total_ = 0; \
	for (size_t index = ROUND_DOWN(first, LEDGER_WORD_BYTES); index < end_; index += LEDGER_WORD_BYTES) { \
		uint64_t word = word_at(ledger, index); \
		total_ += ((matches)&bytes_within(index, first, end_)) * LEDGER_ONES >> 56; \
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
	COUNT_BYTES(ledger, first, count, equal_bytes(word & ~LEDGER_ONES, LEDGER_CACHED))
	return total_;
}

/* Random numbers that can't be foretold from those that were seen: ChaCha8 (Bernstein 2008), 64 bytes at
 * a time. For the security levels; whoever owns the state owns its numbers. */
#ifndef QUARRY_BASE_CHACHA_H
#define QUARRY_BASE_CHACHA_H

#include "base/compiler.h"

#define CHACHA_KEY_WORDS 8
#define CHACHA_BYTES 64

struct chacha {
	uint32_t key[CHACHA_KEY_WORDS];
	uint64_t counter;               /* of the next block */
	uint64_t nonce;
	uint8_t bytes[CHACHA_BYTES];
	uint8_t left;                   /* of them */
};

void chacha_start(struct chacha *random, const uint32_t key[CHACHA_KEY_WORDS], uint64_t nonce);

/* Another stream from now on: the child of a fork must not draw what its parent draws. */
void chacha_turn(struct chacha *random, uint64_t nonce);

NOINLINE void chacha_more(struct chacha *random);

static inline uint8_t chacha_8(struct chacha *random)
{
	if (UNLIKELY(random->left == 0))
		chacha_more(random);
	return random->bytes[--random->left];
}

/* 0 to count - 1; count is at most 65,536. */
static inline size_t chacha_below(struct chacha *random, size_t count)
{
	size_t number = (size_t)chacha_8(random) << 8;

	return (number | chacha_8(random)) * count >> 16;
}

static inline uint64_t chacha_64(struct chacha *random)
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | chacha_8(random);
	return number;
}

#endif

/* ChaCha8: see chacha.h. A row of the state is a vector; all four columns, and then all four diagonals, are mixed at once. */
#include "base/chacha.h"

#include <string.h>

#define DOUBLE_ROUNDS 4

typedef uint32_t row __attribute__((vector_size(16)));

/* "expand 32-byte k" */
static const row constants = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };

static inline row turned(row value, int bits)
{
	return value << bits | value >> (32 - bits);
}

static inline void mix(row *a, row *b, row *c, row *d)
{
	*a += *b;
	*d = turned(*d ^ *a, 16);
	*c += *d;
	*b = turned(*b ^ *c, 12);
	*a += *b;
	*d = turned(*d ^ *a, 8);
	*c += *d;
	*b = turned(*b ^ *c, 7);
}

void chacha_more(struct chacha *random)
{
	row start[4] = { constants };

	memcpy(&start[1], random->key, sizeof(random->key));
	memcpy(&start[3], &random->counter, sizeof(random->counter));
	memcpy((char *)&start[3] + sizeof(random->counter), &random->nonce, sizeof(random->nonce));
	row a = start[0], b = start[1], c = start[2], d = start[3];
	for (int i = 0; i < DOUBLE_ROUNDS; i++) {
		mix(&a, &b, &c, &d);
		b = __builtin_shufflevector(b, b, 1, 2, 3, 0);
		c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
		d = __builtin_shufflevector(d, d, 3, 0, 1, 2);
		mix(&a, &b, &c, &d);
		b = __builtin_shufflevector(b, b, 3, 0, 1, 2);
		c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
		d = __builtin_shufflevector(d, d, 1, 2, 3, 0);
	}
	row out[4] = { a + start[0], b + start[1], c + start[2], d + start[3] };
	_Static_assert(sizeof(out) == CHACHA_BYTES, "a block");
	memcpy(random->bytes, out, sizeof(out));
	random->counter++;
	random->left = CHACHA_BYTES;
}

void chacha_start(struct chacha *random, const uint32_t key[CHACHA_KEY_WORDS], uint64_t nonce)
{
	memcpy(random->key, key, sizeof(random->key));
	random->counter = 0;
	random->nonce = nonce;
	random->left = 0;
}

void chacha_turn(struct chacha *random, uint64_t nonce)
{
	random->nonce += nonce;
	random->left = 0;
}

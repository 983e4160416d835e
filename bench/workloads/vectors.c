/* Many vectors that grow by realloc, in turn: half of them by doubling, half of them by half, from 16 bytes to 64 KiB.
 *
 * Stresses realloc among the small and middling classes: how often a block can grow where it is, what the copies cost,
 * and what becomes of the outgrown blocks, whose sizes never fit the next step of growth by doubling. One vector in
 * four is shrunk to fit when it is full (std::vector::shrink_to_fit, a parser's finished buffer), and lives on for a
 * while.
 */
#include "bench.h"

enum { ITEMS_FIRST = 4, ITEMS_MOST = 16384 }; /* of 4 bytes */

struct vector {
	uint32_t *items;
	uint32_t length, capacity;
	uint32_t length_most; /* it is freed at this length */
};

static uint64_t seed = 1, grown;

static uint32_t item_of(uint64_t vector, uint64_t at)
{
	return (uint32_t)(vector << 16 ^ at);
}

static void vector_reserve(struct vector *vector, uint32_t capacity)
{
	vector->items = need(realloc(vector->items, capacity * sizeof *vector->items));
	vector->capacity = capacity;
	grown++;
}

static void vector_append(struct vector *vector, uint64_t number, uint32_t count)
{
	for (; count; count--) {
		if (vector->length == vector->capacity)
			vector_reserve(vector, !vector->capacity ? ITEMS_FIRST :
					       number % 2 ? vector->capacity * 2 : vector->capacity + vector->capacity / 2);
		vector->items[vector->length] = item_of(number, vector->length);
		vector->length++;
	}
}

/* One item of each cache line is looked at. */
static void vector_free(struct vector *vector, uint64_t number)
{
	for (uint32_t at = 0; at < vector->length; at += 16)
		if (vector->items[at] != item_of(number, at))
			fail("realloc lost an item");
	free(vector->items);
	*vector = (struct vector){NULL, 0, 0, 0};
}

/* Appends a run of items as long as an eighth of the vector, ends it at the length it was given when it was empty. */
static void vector_step(struct vector *vector, uint64_t number)
{
	if (vector->length && vector->length >= vector->length_most) {
		vector_free(vector, number);
		return;
	}
	if (!vector->length)
		vector->length_most = (uint32_t)random_spread(&seed, ITEMS_FIRST, ITEMS_MOST);
	uint32_t count = vector->length / 8 + 4, left = vector->length_most - vector->length;
	vector_append(vector, number, count < left ? count : left);
	if (vector->length == vector->length_most && number % 4 == 0)
		vector_reserve(vector, vector->length);
}

int main(int argc, char **argv)
{
	uint64_t count = 1000, steps = 5000000;
	const struct argument rows[] = {
	    {"vectors", &count, 1, 65536, "vectors"},
	    {"steps", &steps, 1, UINT64_MAX, "times one of them, chosen at random, grows or is freed"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	struct vector *vectors = table_new(count, sizeof *vectors);

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < steps; n++) {
		uint64_t number = random_below(&seed, count);
		vector_step(&vectors[number], number);
	}
	uint64_t elapsed = now_ns() - start;

	result("realloc", (double)elapsed / (double)grown, "ns");
	for (uint64_t number = 0; number < count; number++)
		vector_free(&vectors[number], number);
	return 0;
}

/* What the stress programs share: they check themselves, abort when something is wrong, and end after a bounded time. */
#ifndef QUARRY_TESTS_STRESS_STRESS_H
#define QUARRY_TESTS_STRESS_STRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quarry/quarry.h"

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static inline uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How long to go on, in milliseconds: the first argument. How much was done is for whoever reads it. */
static inline uint64_t duration_ms(int argc, char **argv)
{
	return argc > 1 ? strtoull(argv[1], NULL, 10) : 1500;
}

/* Xorshift64. */
static inline size_t draw(uint64_t *random, size_t bound)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (size_t)((*random >> 8) % bound);
}

/* A block that knows its size and its place, and whether anybody wrote to it. */
struct parcel {
	size_t size;
	struct parcel *self;
	unsigned char rest[];
};

static inline struct parcel *parcel_make(uint64_t *random)
{
	static const size_t most[] = { 32, 100, 100, 300, 1000, 5000, 40000, 300000 };
	size_t size = sizeof(struct parcel) + 1 + draw(random, most[draw(random, 8)]);
	struct parcel *parcel = draw(random, 2) == 0 ? quarry_malloc(size) : quarry_calloc(1, size);

	MUST(parcel != NULL && quarry_usable_size(parcel) >= size);
	parcel->size = size;
	parcel->self = parcel;
	((unsigned char *)parcel)[size - 1] = (unsigned char)size;
	return parcel;
}

static inline void parcel_drop(struct parcel *parcel)
{
	if (parcel == NULL)
		return;
	MUST(parcel->self == parcel && ((unsigned char *)parcel)[parcel->size - 1] == (unsigned char)parcel->size);
	parcel->self = NULL;
	quarry_free(parcel);
}

#endif

/* Arithmetic on sizes and addresses: rounding, powers of two, checked products. Used everywhere. */
#ifndef QUARRY_BASE_BITS_H
#define QUARRY_BASE_BITS_H

#include "base/compiler.h"

#define KIB ((size_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* `alignment` must be a power of two in all three. */
#define ROUND_DOWN(value, alignment) ((value) & ~((__typeof__(value))(alignment) - 1))
#define ROUND_UP(value, alignment) ROUND_DOWN((value) + ((__typeof__(value))(alignment) - 1), alignment)
#define IS_ALIGNED(value, alignment) (((value) & ((__typeof__(value))(alignment) - 1)) == 0)

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t max_size(size_t a, size_t b) { return a > b ? a : b; }
static inline bool is_power_of_two(size_t value) { return value != 0 && (value & (value - 1)) == 0; }

/* Index of the highest set bit; value must not be 0. */
static inline unsigned log2_floor(size_t value) { return 63u - (unsigned)__builtin_clzll(value); }

/* Bits that are set; __builtin_popcountll is a call of libgcc's where no flag promises the instruction. */
static inline unsigned popcount64(uint64_t value)
{
	value -= value >> 1 & 0x5555555555555555u;
	value = (value & 0x3333333333333333u) + (value >> 2 & 0x3333333333333333u);
	value = (value + (value >> 4)) & 0x0f0f0f0f0f0f0f0fu;
	return (unsigned)(value * 0x0101010101010101u >> 56);
}

/* The largest power of two that divides value; value must not be 0. */
static inline size_t low_bit(size_t value) { return value & (~value + 1); }

/* Smallest power of two >= value, for 1 <= value <= 2^63. */
static inline size_t power_of_two_ceil(size_t value)
{
	return value <= 1 ? 1 : (size_t)1 << (log2_floor(value - 1) + 1);
}

/* a * b in *product; false if it overflows. */
static inline bool multiply_checked(size_t a, size_t b, size_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

#endif

/* Arithmetic on big numbers of which each result is a fresh block, as Python's and Haskell's are.
 *
 * Stresses blocks that live for one operation, of sizes that grow slowly: 16 bytes to 4 KiB of limbs. Three programs: a
 * row of Pascal's triangle, whose numbers are replaced one after the other (small ones, a few hundred live); Fibonacci
 * numbers by addition; and products by Karatsuba's method, whose temporaries nest. The results are checked against each
 * other: the sum of the row is a power of two, and F(2n) = F(n) * (F(n-1) + F(n+1)).
 */
#include "bench.h"

enum { KARATSUBA_LEAST = 16 /* limbs */, ROW_LENGTH = 300, FIBONACCI_LAST = 40000 };

struct number {
	uint64_t length; /* limbs, the lowest first */
	uint64_t limbs[];
};

static struct number *number_new(uint64_t length)
{
	struct number *number = need(malloc(sizeof *number + length * sizeof number->limbs[0]));
	number->length = length;
	return number;
}

static struct number *number_small(uint64_t value)
{
	struct number *number = number_new(1);
	number->limbs[0] = value;
	return number;
}

static uint64_t limb(const struct number *a, uint64_t i)
{
	return i < a->length ? a->limbs[i] : 0;
}

static int equal(const struct number *a, const struct number *b)
{
	for (uint64_t i = 0; i < a->length || i < b->length; i++)
		if (limb(a, i) != limb(b, i))
			return 0;
	return 1;
}

static struct number *add(const struct number *a, const struct number *b)
{
	const struct number *longer = a->length >= b->length ? a : b;
	unsigned __int128 carry = limb(a, longer->length - 1);
	carry += limb(b, longer->length - 1);
	/* One limb more only where it could be needed, so that the length follows the value. */
	struct number *sum = number_new(longer->length + (carry >= UINT64_MAX));
	carry = 0;
	for (uint64_t i = 0; i < sum->length; i++, carry >>= 64) {
		carry += limb(a, i);
		carry += limb(b, i);
		sum->limbs[i] = (uint64_t)carry;
	}
	return sum;
}

/* a is at least b. */
static struct number *subtract(const struct number *a, const struct number *b)
{
	struct number *difference = number_new(a->length);
	unsigned __int128 borrow = 0;
	for (uint64_t i = 0; i < a->length; i++) {
		unsigned __int128 step = (unsigned __int128)a->limbs[i] - limb(b, i) - borrow;
		difference->limbs[i] = (uint64_t)step;
		borrow = step >> 64 & 1;
	}
	return difference;
}

static struct number *part(const struct number *a, uint64_t from, uint64_t length)
{
	struct number *some = number_new(length);
	for (uint64_t i = 0; i < length; i++)
		some->limbs[i] = limb(a, from + i);
	return some;
}

static struct number *multiply_plainly(const struct number *a, const struct number *b)
{
	struct number *product = number_new(a->length + b->length);
	memset(product->limbs, 0, product->length * sizeof product->limbs[0]);
	for (uint64_t i = 0; i < a->length; i++) {
		unsigned __int128 carry = 0;
		for (uint64_t j = 0; j < b->length; j++, carry >>= 64) {
			carry += (unsigned __int128)a->limbs[i] * b->limbs[j] + product->limbs[i + j];
			product->limbs[i + j] = (uint64_t)carry;
		}
		product->limbs[i + b->length] = (uint64_t)carry;
	}
	return product;
}

/* total += a, shifted up by so many limbs. Limbs beyond the total are zero. */
static void add_at(struct number *total, const struct number *a, uint64_t shift)
{
	unsigned __int128 carry = 0;
	for (uint64_t i = shift; i < total->length; i++, carry >>= 64) {
		carry += total->limbs[i];
		carry += limb(a, i - shift);
		total->limbs[i] = (uint64_t)carry;
	}
}

/* The old one is freed. */
static void replace(struct number **old, struct number *by)
{
	free(*old);
	*old = by;
}

/* (a1 B + a0) (b1 B + b0) = high B^2 + ((a0 + a1) (b0 + b1) - high - low) B + low */
static struct number *multiply(const struct number *a, const struct number *b)
{
	if (a->length < KARATSUBA_LEAST || b->length < KARATSUBA_LEAST)
		return multiply_plainly(a, b);
	uint64_t half = ((a->length > b->length ? a->length : b->length) + 1) / 2;
	struct number *a0 = part(a, 0, half), *a1 = part(a, half, half);
	struct number *b0 = part(b, 0, half), *b1 = part(b, half, half);
	struct number *low = multiply(a0, b0), *high = multiply(a1, b1);
	replace(&a0, add(a0, a1));
	replace(&b0, add(b0, b1));
	struct number *middle = multiply(a0, b0);
	replace(&middle, subtract(middle, low));
	replace(&middle, subtract(middle, high));

	struct number *product = number_new(4 * half);
	memset(product->limbs, 0, product->length * sizeof product->limbs[0]);
	add_at(product, low, 0);
	add_at(product, middle, half);
	add_at(product, high, 2 * half);
	struct number *const used[] = {a0, a1, b0, b1, low, middle, high};
	for (size_t i = 0; i < sizeof used / sizeof *used; i++)
		free(used[i]);
	return product;
}

/* Row n of Pascal's triangle from row n - 1, in place; in the end all of it adds up to 2^ROW_LENGTH. */
static void pascal(void)
{
	struct number *row[ROW_LENGTH + 1], *sum = number_small(0);
	for (int n = 0; n <= ROW_LENGTH; n++) {
		row[n] = number_small(1);
		for (int k = n - 1; k > 0; k--)
			replace(&row[k], add(row[k], row[k - 1]));
	}
	for (int k = 0; k <= ROW_LENGTH; k++) {
		replace(&sum, add(sum, row[k]));
		free(row[k]);
	}
	for (uint64_t i = 0; i < sum->length; i++)
		if (sum->limbs[i] != (i == ROW_LENGTH / 64 ? UINT64_C(1) << ROW_LENGTH % 64 : 0))
			fail("the row of Pascal's triangle doesn't add up");
	free(sum);
}

/* F(0) .. F(last) by addition; what is kept is F(last - 1) and F(last). */
static void fibonacci(uint64_t last, struct number **before, struct number **at)
{
	*before = number_small(0);
	*at = number_small(1);
	for (uint64_t n = 1; n < last; n++) {
		struct number *next = add(*before, *at);
		free(*before);
		*before = *at;
		*at = next;
	}
}

static void products(uint64_t count)
{
	struct number *before, *half, *after, *last_before, *last;
	fibonacci(FIBONACCI_LAST / 2, &before, &half);
	fibonacci(FIBONACCI_LAST, &last_before, &last);
	after = add(before, half);
	replace(&after, add(after, before));
	for (uint64_t i = 0; i < count; i++) {
		struct number *product = multiply(half, after);
		if (!equal(product, last))
			fail("F(2n) isn't F(n) (F(n-1) + F(n+1))");
		free(product);
	}
	struct number *const used[] = {before, half, after, last_before, last};
	for (size_t i = 0; i < sizeof used / sizeof *used; i++)
		free(used[i]);
}

int main(int argc, char **argv)
{
	uint64_t rounds = 16, triangles = 40, product_count = 80;
	const struct argument rows[] = {
	    {"rounds", &rounds, 1, UINT64_MAX, "times the whole is done"},
	    {"triangles", &triangles, 1, UINT64_MAX, "triangles of Pascal in each"},
	    {"products", &product_count, 1, UINT64_MAX, "products in each"},
	};
	ARGUMENTS(argc, argv, rows);

	uint64_t start = now_ns();
	for (uint64_t round = 0; round < rounds; round++) {
		for (uint64_t i = 0; i < triangles; i++)
			pascal();
		products(product_count);
	}
	result("round", (double)(now_ns() - start) / (double)rounds / 1e6, "ms");
	return 0;
}

/* The account of sampled blocks: see account.h. */
#include "guard/account.h"

#include <stdatomic.h>

#include "base/bits.h"
#include "guard/stack.h"

/* Calls that make a place: with more, a recursion is many places; with fewer, all that one wrapper of malloc serves is
 * one. */
#define PLACE_FRAMES 6
#define PLACES_MAX ((size_t)1024)
#define PLACE_PAGES ((size_t)2)
/* A single block takes at most this part of the pool. */
#define BLOCK_FRACTION 16

static struct {
	size_t pages_max;               /* immutable, like the next */
	size_t places;
	_Atomic size_t pages;
	_Atomic size_t passed_over;
	_Atomic uint32_t place_pages[PLACES_MAX];
} account;

void account_configure(size_t pages)
{
	account.pages_max = pages;
	account.places = max_size(min_size(pages / 2 / PLACE_PAGES, PLACES_MAX), 1);
}

static uint64_t hash_of(uint32_t stack)
{
	uintptr_t frames[PLACE_FRAMES];
	size_t count = stack_frames(stack, frames, PLACE_FRAMES);
	uint64_t hash = 0;

	for (size_t i = 0; i < count; i++) {
		hash = (hash ^ frames[i]) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	return hash;
}

static _Atomic uint32_t *place_of(uint64_t hash, bool second)
{
	return &account.place_pages[(second ? hash >> 40 : hash & UINT32_MAX) % account.places];
}

static uint32_t pages_of(uint64_t hash, bool second)
{
	return atomic_load_explicit(place_of(hash, second), memory_order_relaxed);
}

bool account_take(uint32_t stack, size_t pages, bool *second)
{
	uint64_t hash = hash_of(stack);
	*second = pages_of(hash, true) < pages_of(hash, false);
	_Atomic uint32_t *place = place_of(hash, *second);
	size_t before = atomic_fetch_add_explicit(&account.pages, pages, memory_order_relaxed);
	bool anybodys = before + pages <= account.pages_max / 2 && pages <= max_size(account.pages_max / BLOCK_FRACTION, 1);
	bool has_little = before + pages <= account.pages_max &&
	                  atomic_load_explicit(place, memory_order_relaxed) + pages <= PLACE_PAGES;

	if (LIKELY(anybodys || has_little)) {
		atomic_fetch_add_explicit(place, (uint32_t)pages, memory_order_relaxed);
		return true;
	}
	atomic_fetch_sub_explicit(&account.pages, pages, memory_order_relaxed);
	atomic_fetch_add_explicit(&account.passed_over, 1, memory_order_relaxed);
	return false;
}

void account_give(uint32_t stack, size_t pages, bool second)
{
	atomic_fetch_sub_explicit(place_of(hash_of(stack), second), (uint32_t)pages, memory_order_relaxed);
	atomic_fetch_sub_explicit(&account.pages, pages, memory_order_relaxed);
}

struct account_figures account_figures(void)
{
	return (struct account_figures){
		.pages = atomic_load_explicit(&account.pages, memory_order_relaxed),
		.passed_over = atomic_load_explicit(&account.passed_over, memory_order_relaxed),
	};
}

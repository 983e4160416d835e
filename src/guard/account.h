/* The account of sampled blocks: which of them may take pages of a pool of fixed size, such that those that live long
 * don't keep all others out for ever. Called by guarded.c alone.
 *
 * Half of the pool is anybody's. Beyond that, who already has two pages gets none: "who" is a place in the program, the
 * innermost calls of the allocation's stack, one of so many that all of them with two pages each fill the other half just
 * so. So a place whose blocks don't live long is sampled whatever the others hold. Different calls may be one place; so
 * each has two, of which the emptier counts: with a tenth of the places full, one in a hundred finds both so. At the
 * bound, when blocks of all places have stayed, a sample is passed over, and counted.
 *
 * Needs no lock; two threads at once may pass one over that would have fitted. */
#ifndef QUARRY_GUARD_ACCOUNT_H
#define QUARRY_GUARD_ACCOUNT_H

#include "base/compiler.h"

/* Once, before the second thread. */
void account_configure(size_t pages);

/* For a block whose maker's stack (stack.h) is this one; stores which of its two places counts it. False: it is not to be. */
bool account_take(uint32_t stack, size_t pages, bool *second);
/* It is freed; all as it was. */
void account_give(uint32_t stack, size_t pages, bool second);

struct account_figures {
	size_t pages;                   /* in use */
	size_t passed_over;             /* samples, so far */
};
struct account_figures account_figures(void);

#endif

/* Which requests are to be guarded: by size, by who asks, every so many-th one. Called by guarded.c alone. */
#ifndef QUARRY_GUARD_FILTER_H
#define QUARRY_GUARD_FILTER_H

#include "base/compiler.h"
#include "base/options.h"

/* By what costs nothing to know. */
bool filter_wants_size(const struct options *options, size_t size);
/* True too if `caller` lies in Quarry itself, or it can't be told what it lies in: filter_wants_stack decides. */
bool filter_wants_caller(const struct options *options, const void *caller, bool *certain);
/* By the innermost frame outside Quarry; true if none is known. */
bool filter_wants_stack(const struct options *options, uint32_t stack);
/* The so many-th; to be asked last, since it counts. */
bool filter_turn(const struct options *options);

/* Whether an object's path is what guard_module names. */
bool filter_is_module(const char *path, const char *module);

#endif

/* Memory can't be had: what is done before a call says so. Called by allocate.c, with no lock held. */
#ifndef QUARRY_API_SHORTAGE_H
#define QUARRY_API_SHORTAGE_H

#include "base/bits.h"
#include "block/sizeclass.h"
#include "space/space.h"

/* One request that has failed. */
struct shortage {
	size_t size;                    /* bytes asked for */
	size_t needed;                  /* bytes of spans that it takes at most */
	unsigned stage;                 /* 0 at first; how far it has come */
	unsigned tries;                 /* 0 at first; in this stage */
};

/* Of a small block: its slab, and what that needs of metadata. */
static inline struct shortage shortage_of_small(unsigned class_index, size_t size)
{
	return (struct shortage){ .size = size, .needed = (size_classes[class_index].units + 1u) * UNIT_BYTES };
}

/* Of a large one: its colour, and metadata. */
static inline struct shortage shortage_of_large(size_t size)
{
	return (struct shortage){ .size = size, .needed = size > PTRDIFF_MAX ? SIZE_MAX : size + 2 * UNIT_BYTES };
}

/* True: something was given back or freed, and the request is worth another try; false: it fails for good. errno is as it
 * was. */
COLD bool shortage_relieve(struct shortage *shortage);

/* Limits of the process that were set from outside (RLIMIT_AS, RLIMIT_DATA), UINT64_MAX: none; before the second thread. The
 * first request that fails names the one that may be why. */
void shortage_configure(uint64_t address_space, uint64_t data);

typedef bool (*shortage_handler)(size_t size, void *context);
void shortage_set_handler(shortage_handler handler, void *context);

#endif

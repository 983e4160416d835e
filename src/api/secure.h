/* malloc, free and realloc with a security level: what they do when a magazine has sent them to the slow path. Called by
 * allocate.c and resize.c where `secure.on`. See block/secure.h. */
#ifndef QUARRY_API_SECURE_H
#define QUARRY_API_SECURE_H

#include "api/allocate.h"

/* A block that reads as zero, whatever `asked` says of it, if zeroing is on. */
void *secure_allocate(struct asked asked, const void *caller);
/* The same without an alignment, short for what is at hand. */
void *secure_allocate_plain(size_t size, enum guard_kind kind, const void *caller);

/* The block is LIVE, and the slab the calling thread's own. `said`: the size; see release_said. */
void secure_release_own(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call);
/* The same of another's slab, or the shared heap's. */
void secure_release_other(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call);
/* The block was LIVE a moment ago; any span. Does not touch errno. */
void secure_release(struct span *span, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call);

/* realloc of a live block to more than 0 bytes, in place or by its page tables. NULL: it must be copied. */
void *secure_resize(struct span *span, ledger_byte *state, void *block, size_t size, const char *call);

#endif

/* Pointers outside Quarry's memory: another heap's (libc's behind RTLD_DEEPBIND, a bundled allocator's), or a mistake.
 * Never dereferenced. What the option `foreign` says is done; what is known not to be any heap's is reported under
 * forward too. Called by src/api/ on slow paths. */
#ifndef QUARRY_API_FOREIGN_H
#define QUARRY_API_FOREIGN_H

#include "base/compiler.h"

/* The next allocator in line. */
struct foreign_next {
	void (*free)(void *block);
	void *(*realloc)(void *block, size_t size);
	size_t (*usable_size)(void *block);
};

/* By the preloaded library's constructor; without it `forward` means `abort`. */
void foreign_set_next(const struct foreign_next *next);

/* `call` is the name of the function that the program has called, for a report. */
void foreign_free(void *pointer, const char *call);
void *foreign_realloc(void *pointer, size_t size, const char *call);
size_t foreign_usable_size(void *pointer, const char *call);

#endif

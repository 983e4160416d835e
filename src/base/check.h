/* The one exit for what must not be: CHECK is always on and cheap, DCHECK only in debug builds. */
#ifndef QUARRY_BASE_CHECK_H
#define QUARRY_BASE_CHECK_H

#include "base/compiler.h"

/* Writes "quarry: fatal: WHAT" and where to standard error, then aborts. Allocates nothing. */
_Noreturn COLD void die(const char *what, const char *file, int line);

#define CHECK(condition) \
	do { \
		if (UNLIKELY(!(condition))) \
			die("check failed: " #condition, __FILE__, __LINE__); \
	} while (0)

#ifdef QUARRY_DEBUG
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition) ((void)sizeof(!(condition)))
#endif

#endif

/* Pointers outside Quarry's memory: see foreign.h. */
#include "api/foreign.h"

#include <errno.h>

#include <string.h>

#include "api/init.h"
#include "api/secret.h"
#include "block/lookup.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "guard/unwind.h"
#include "os/os.h"

void foreign_set_next(const struct foreign_next *next)
{
	sealed.next = *next;
}

static bool next_is_glibc(void)
{
	struct os_object object;

	if (!os_object_of((const void *)(uintptr_t)sealed.next.free, &object))
		return false;
	const char *slash = strrchr(object.name, '/');
	return strcmp(slash != NULL ? slash + 1 : object.name, "libc.so.6") == 0;
}

/* glibc ends the process for what is none of its blocks, and says little; in guard mode what can't be one is reported
 * here. A chunk's size stands in front of its block, and is never below four words (glibc's malloc/malloc.c). */
static COLD bool may_be_next_ones(const void *pointer)
{
	uintptr_t size;

	if ((uintptr_t)pointer % (2 * sizeof(size)) == 0 && unwind_read((uintptr_t)pointer - sizeof(size), &size) &&
	    size >= 4 * sizeof(size))
		return true;
	return !next_is_glibc();
}

/* What to do; reports what can't be another heap's, and ignores it if that returns. */
static unsigned decide(const char *call, const void *pointer, bool has_next)
{
	unsigned choice = sealed.options.foreign;

	if (place_of(pointer).kind != PLACE_FOREIGN) {
		report_bad_pointer(call, pointer);
		return OPTION_foreign_ignore;
	}
	if (secret_is(pointer)) {
		report_foreign_pointer(call, pointer);
		return OPTION_foreign_ignore;
	}
	if (choice == OPTION_foreign_forward && !has_next)
		choice = OPTION_foreign_abort;
	if (choice == OPTION_foreign_abort ||
	    (choice == OPTION_foreign_forward && (os_is_own_stack(pointer) || os_is_in_object(pointer))) ||
	    (choice == OPTION_foreign_forward && guarded_on && !may_be_next_ones(pointer))) {
		report_foreign_pointer(call, pointer);
		return OPTION_foreign_ignore;
	}
	return choice;
}

void foreign_free(void *pointer, const char *call)
{
	if (decide(call, pointer, sealed.next.free != NULL) == OPTION_foreign_forward)
		sealed.next.free(pointer);
}

void *foreign_realloc(void *pointer, size_t size, const char *call)
{
	if (decide(call, pointer, sealed.next.realloc != NULL) == OPTION_foreign_forward)
		return sealed.next.realloc(pointer, size);
	/* Ignored: nobody knows how much there is to copy. */
	errno = ENOMEM;
	return NULL;
}

size_t foreign_usable_size(void *pointer, const char *call)
{
	if (decide(call, pointer, sealed.next.usable_size != NULL) == OPTION_foreign_forward)
		return sealed.next.usable_size(pointer);
	return 0;
}

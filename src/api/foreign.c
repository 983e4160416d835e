/* Pointers outside Quarry's memory: see foreign.h. */
#include "api/foreign.h"

#include <errno.h>

#include "api/init.h"
#include "block/lookup.h"
#include "guard/report.h"
#include "os/os.h"

void foreign_set_next(const struct foreign_next *next)
{
	sealed.next = *next;
}

/* What to do; reports what can't be another heap's, and ignores it if that returns. */
static unsigned decide(const char *call, const void *pointer, bool has_next)
{
	unsigned choice = sealed.options.foreign;

	if (place_of(pointer).kind != PLACE_FOREIGN) {
		report_bad_pointer(call, pointer);
		return OPTION_foreign_ignore;
	}
	if (choice == OPTION_foreign_forward && !has_next)
		choice = OPTION_foreign_abort;
	if (choice == OPTION_foreign_abort ||
	    (choice == OPTION_foreign_forward && (os_is_own_stack(pointer) || os_is_in_object(pointer)))) {
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

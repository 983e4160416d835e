/* Pools: see pools.h. */
#include "tools/pools.h"

#include <stdlib.h>

#include "tools/command.h"

/* One row each; where it is documented. A variable that a program doesn't know does it no harm. */
static const struct pool {
	const char *variable;
	const char *value;
} pools[] = {
	/* CPython since 3.6: obmalloc. docs.python.org, "Command line and environment" */
	{ "PYTHONMALLOC", "malloc" },
	/* PHP: the Zend memory manager. php.net, "Generating a gdb backtrace", and bugs.php.net's page on valgrind */
	{ "USE_ZEND_ALLOC", "0" },
	/* GLib before 2.76: the slice allocator. docs.gtk.org/glib, "Running and debugging GLib Applications" */
	{ "G_SLICE", "always-malloc" },
	/* libstdc++: __mt_alloc and __pool_alloc; the default allocator of gcc 3.4 and its like. The manual's chapter on
	 * mt_allocator */
	{ "GLIBCXX_FORCE_NEW", "1" },
	/* The same for gcc 3.2.2 to 3.3 */
	{ "GLIBCPP_FORCE_NEW", "1" },
	/* Mozilla's NSS: the free list of arenas. Its page "NSS Memory allocation" */
	{ "NSS_DISABLE_ARENA_FREE_LIST", "1" },
};

bool pools_switch_off(void)
{
	char *list = copy_text("");

	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
		if (getenv(pools[i].variable) != NULL)
			continue;
		if (setenv(pools[i].variable, pools[i].value, 1) != 0) {
			free(list);
			return false;
		}
		char *longer = format_text("%s%s%s=%s", list, *list == 0 ? "" : " ", pools[i].variable, pools[i].value);
		free(list);
		list = longer;
	}
	if (*list != 0)
		complain("guard mode: pools are switched off by %s (--keep-pools leaves them)", list);
	free(list);
	return true;
}

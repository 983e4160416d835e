/* What the options were read to. `options sealed` writes to the page that holds them: it must not be able to. With
 * -DOWN_DEFAULTS the program brings its own defaults; with -DCORE it is linked with libquarry-core.a. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef OWN_DEFAULTS
const char quarry_options[] = "confirm,retain=3M,decay_ms=77";
#endif

#ifdef CORE
#include "quarry/quarry.h"
#define MALLOC quarry_malloc
#else
#define MALLOC malloc
#endif

static void *volatile keep;

int main(int argc, char **argv)
{
	keep = MALLOC(100);
	if (argc > 1)
		*(volatile char *)strtoull(argv[1], NULL, 16) = 1;
	printf("ran\n");
	return 0;
}

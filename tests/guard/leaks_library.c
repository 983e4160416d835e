/* A library that keeps blocks; opened and closed by leaks.c. */
#include <stdlib.h>

static void *volatile kept;
static _Thread_local void *volatile local[100];

void library_keep(void)
{
	kept = malloc(70);
	*(void **)kept = malloc(71);
}

void library_keep_tls(void)
{
	local[50] = malloc(72);
}

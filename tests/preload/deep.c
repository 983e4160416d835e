/* A library that hands out blocks and takes some. Opened with RTLD_DEEPBIND it sees the C library's malloc and free, but
 * what the C library itself allocates for it (strdup) is the program's malloc's. */
#include <stdlib.h>
#include <string.h>

char *deep_copy(const char *text)
{
	char *block = malloc(strlen(text) + 1);

	return block != NULL ? strcpy(block, text) : NULL;
}

char *deep_strdup(const char *text) { return strdup(text); }
void deep_drop(void *block) { free(block); }
void *deep_grow(void *block, size_t size) { return realloc(block, size); }

/* A use after free in an inlined function, for tests/guard/symbols.sh. Lines are named there by these comments. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	char name[40];
	int count;
};

static inline __attribute__((always_inline)) void item_touch(struct item *item)
{
	item->count++;                                  /* touch */
}

__attribute__((noinline)) static struct item *item_make(const char *name)
{
	struct item *item = malloc(sizeof(*item));      /* make */

	strcpy(item->name, name);
	item->count = 1;
	return item;
}

__attribute__((noinline)) static void item_drop(struct item *item)
{
	free(item);                                     /* drop */
	__asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) static int item_use(struct item *item)
{
	item_touch(item);                               /* use */
	return item->count;
}

int main(int argc, char **argv)
{
	struct item *item = item_make("a name to be seen");

	if (argc > 1 && strcmp(argv[1], "status") == 0)
		return 42;
	if (argc > 1 && strcmp(argv[1], "twice") == 0)
		item_drop(item);
	item_drop(item);
	return item_use(item) > 0 ? 0 : 1;
}

/* Memory that runs out under the caller's limit: NULL and ENOMEM, nothing worse; and after frees there is memory again.
 * Prints "good". */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static size_t total;

static void complain(const char *what)
{
	dprintf(1, "%s after %zu MiB\n", what, total / MIB);
	_exit(2);
}

/* Takes all there is, in a list; each block points to the one before. */
static void **take_all(size_t size)
{
	void **last = NULL, **block;

	total = 0;
	errno = 0;
	while ((block = malloc(size)) != NULL) {
		memset(block, 1, size < 4096 ? size : 4096);
		*block = last;
		last = block;
		total += size;
	}
	if (errno != ENOMEM)
		complain("errno is not ENOMEM");
	return last;
}

static void give_all(void **last)
{
	while (last != NULL) {
		void **next = *last;
		free(last);
		last = next;
	}
}

int main(int argc, char **argv)
{
	size_t limit = argc > 1 ? strtoul(argv[1], NULL, 10) * 1024 : 0;
	/* The last: two to a region. What is larger than a region may not be had again once small blocks have used up the
	 * address space: regions stay. */
	const size_t sizes[] = { 24, 100, 3000, 30000, 100000, limit / 40 };

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void **blocks = take_all(sizes[i]);
			fprintf(stderr, "%zu MiB in blocks of %zu, of %zu\n", total / MIB, sizes[i], limit / MIB);
			/* Half of what the limit leaves must be reached, in the first round and in the third. */
			if (total < limit / 2)
				complain("too little was to be had");
			errno = 0;
			if (calloc(1, limit) != NULL || errno != ENOMEM)
				complain("calloc");
			char *kept = (char *)blocks;
			blocks = (void **)*blocks;
			errno = 0;
			if (realloc(kept, limit) != NULL || errno != ENOMEM)
				complain("realloc");
			free(kept);
			give_all(blocks);
			if ((blocks = malloc(sizes[i])) == NULL)
				complain("nothing");
			free(blocks);
		}
	}
	dprintf(1, "good\n");
	return 0;
}

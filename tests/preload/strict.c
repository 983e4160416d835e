/* Strict overcommit: what is charged is given back. With blocks of one TiB, of which at least one more would fit beside the
 * rest of the machine's: no other program notices. Prints "good". */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 40)
#define BLOCKS_MAX 100

static char *blocks[BLOCKS_MAX];

static void fail(const char *what, long value)
{
	printf("%s: %ld\n", what, value);
	exit(1);
}

/* How many there are to be had. */
static long take_all(void)
{
	for (long count = 0; count < BLOCKS_MAX; count++) {
		errno = 0;
		if ((blocks[count] = malloc(BLOCK_BYTES)) == NULL) {
			if (errno != ENOMEM)
				fail("errno", errno);
			return count;
		}
		blocks[count][0] = blocks[count][BLOCK_BYTES - 1] = 1;
	}
	fail("never refused", BLOCKS_MAX);
	return -1;
}

static void free_all(long count)
{
	for (long i = 0; i < count; i++)
		free(blocks[i]);
}

int main(int argc, char **argv)
{
	long expected = atol(argv[1]), count;

	for (int i = 0; i < 3; i++) {
		count = take_all();
		if (count < expected - 2 || count > expected)
			fail("TiB", count);
		/* Small ones find room beside them. */
		char *small = malloc(1000);
		if (small == NULL)
			fail("small", i);
		free(small);
		free_all(count);
	}
	malloc_trim(0);
	/* A child's charge is as much as its parent's: none of what was freed. */
	count = take_all();
	free_all(count);
	malloc_trim(0);
	for (int i = 0; i < 10; i++) {
		pid_t child = fork();
		if (child == 0) {
			char *block = malloc(BLOCK_BYTES);
			_exit(block == NULL);
		}
		int status = -1;
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			fail("child", status);
	}
	puts("good");
	return 0;
}

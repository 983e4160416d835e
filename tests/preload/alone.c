/* A program with nothing but the C library: threads whose blocks others free, and mistakes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define BLOCKS 20000

static void *blocks[THREADS][BLOCKS];
static pthread_barrier_t barrier;

static size_t size_of(size_t thread, size_t i)
{
	return i % 100 == 0 ? 100000 + i : (i * 7 + thread) % 3000 + 1;
}

/* Its own blocks are made, its neighbour's freed. */
static void *run(void *argument)
{
	size_t own = (size_t)argument, other = (own + 1) % THREADS;

	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[own][i] = calloc(1, size_of(own, i));
		for (size_t at = 0; at < size_of(own, i); at += 4096)
			if (((char *)blocks[own][i])[at] != 0)
				exit(3);
		memset(blocks[own][i], (int)own, size_of(own, i));
		if (i % 3 == 0)
			blocks[own][i] = realloc(blocks[own][i], size_of(own, i) + 500);
	}
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < BLOCKS; i++) {
		if (*(char *)blocks[other][i] != (char)other)
			exit(2);
		free(blocks[other][i]);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	char *volatile block;

	if (argc == 1) {
		for (int round = 0; round < 2; round++) {
			pthread_barrier_init(&barrier, NULL, THREADS);
			for (size_t i = 0; i < THREADS; i++)
				pthread_create(&threads[i], NULL, run, (void *)i);
			for (size_t i = 0; i < THREADS; i++)
				pthread_join(threads[i], NULL);
		}
		puts("done");
		return 0;
	}
	block = malloc(100);
	if (strcmp(argv[1], "overflow") == 0)
		block[100 + 12] = 1;
	free(block);
	if (strcmp(argv[1], "twice") == 0)
		free(block);
	return 0;
}

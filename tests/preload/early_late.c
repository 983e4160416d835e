/* Blocks that are allocated before main and after it: in ifunc resolvers, preinit_array, constructors, thread-local
 * destructors of all rounds, atexit handlers, and by threads that outlive main's return. Prints "good" at the end, from
 * the last one to speak, or what was wrong. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS 300
#define ROUNDS_MAX 4

static void *kept[8][BLOCKS];
static int in_resolver, in_preinit, in_constructor, in_key_destructors, in_atexit;

static void complain(const char *what)
{
	if (write(1, what, strlen(what)) < 0)
		_exit(3);
	_exit(2);
}

/* Enough to pass from the shared heap to one of the thread's own; half stays for later. */
static void allocate(int row)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		char *block = malloc(i * 10 + 1);
		if (block == NULL || (uintptr_t)block % 16 != 0)
			complain("malloc\n");
		memset(block, row + 1, i * 10 + 1);
		if (i % 2 == 0) {
			free(block);
			block = realloc(NULL, i * 10 + 1);
			memset(block, row + 1, i * 10 + 1);
		}
		kept[row][i] = block;
	}
}

static void release(int row)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		char *block = kept[row][i];
		for (size_t at = 0; block != NULL && at < i * 10 + 1; at++)
			if (block[at] != row + 1)
				complain("a block was overwritten\n");
		free(block);
		kept[row][i] = NULL;
	}
}

#ifdef RESOLVER
static int resolved(void) { return 1; }

/* No library function but malloc's family may be called here. */
static int (*resolve(void))(void)
{
	void *blocks[50];

	for (int i = 0; i < 50; i++) {
		blocks[i] = malloc(100);
		if (blocks[i] != NULL)
			in_resolver++;
	}
	for (int i = 0; i < 49; i++)
		free(blocks[i]);
	kept[7][0] = blocks[49];
	return resolved;
}

int by_resolver(void) __attribute__((ifunc("resolve")));
#else
static int by_resolver(void) { in_resolver = 50; return 1; }
#endif

static void preinit(int argc, char **argv, char **environment)
{
	allocate(0);
	in_preinit++;
	(void)argc, (void)argv, (void)environment;
}
__attribute__((section(".preinit_array"), used)) static void (*preinit_entry)(int, char **, char **) = preinit;

__attribute__((constructor)) static void constructor(void)
{
	release(0);
	allocate(1);
	in_constructor++;
}

__attribute__((destructor)) static void destructor(void)
{
	release(2);
	allocate(3);
	release(3);
	if (in_resolver != 50 || in_preinit != 1 || in_constructor != 1 || in_key_destructors != 2 * ROUNDS_MAX || in_atexit != 1)
		complain("something did not run\n");
	if (write(1, "good\n", 5) < 0)
		_exit(3);
}

static pthread_key_t early_key, late_keys[40];
static int rounds;

/* Comes again in every round that there is. */
static void key_destructor(void *value)
{
	free(value);
	void *block = malloc(1000);
	block = realloc(block, 3000);
	void *big = calloc(1, 200000);
	free(big);
	__atomic_fetch_add(&in_key_destructors, 1, __ATOMIC_SEQ_CST);
	pthread_setspecific(early_key, block);
	rounds++;
}

static void late_destructor(void *value)
{
	free(value);
	free(malloc(77));
}

static void *thread_with_keys(void *blocks)
{
	void **row = blocks;

	pthread_setspecific(early_key, malloc(10));
	for (int i = 0; i < 40; i++)
		pthread_setspecific(late_keys[i], malloc((size_t)i + 1));
	if (row != NULL)
		for (size_t i = 0; i < BLOCKS; i++) {
			row[i] = malloc(i * 10 + 1);
			memset(row[i], 3, i * 10 + 1);
		}
	return NULL;
}

static void at_exit(void)
{
	release(1);
	in_atexit++;
}

static void *outlive(void *main_thread)
{
	pthread_join(*(pthread_t *)main_thread, NULL);
	for (int i = 0; i < 10000; i++)
		free(malloc((size_t)i));
	free(main_thread);
	exit(0);
}

int main(void)
{
	pthread_t thread;

	if (by_resolver() != 1)
		complain("the resolver\n");
	free(kept[7][0]);
	atexit(at_exit);
	pthread_key_create(&early_key, key_destructor);
	for (int i = 0; i < 40; i++)
		pthread_key_create(&late_keys[i], late_destructor);
	/* One thread with a heap of its own, one on the shared heap. */
	pthread_create(&thread, NULL, thread_with_keys, kept[2]);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, thread_with_keys, NULL);
	pthread_join(thread, NULL);
	pthread_t *self = malloc(sizeof(*self));
	*self = pthread_self();
	pthread_create(&thread, NULL, outlive, self);
	pthread_detach(thread);
	pthread_exit(NULL);
}

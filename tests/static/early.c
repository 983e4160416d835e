/* The process's first calls of malloc race its first forks: from the first constructor there is, before any of Quarry's
 * that is not earlier still. Prints "good". */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define FORKS 200

static atomic_bool stop;
static pthread_t threads[THREADS];

static void *allocate(void *argument)
{
	for (size_t i = 1; !atomic_load(&stop); i++) {
		size_t size = i % 50 == 0 ? 300000 : i % 3000 + 1;
		char *block = malloc(size);
		block[0] = block[size - 1] = 1;
		free(block);
	}
	return argument;
}

static void live(void)
{
	void *blocks[100];

	alarm(20);
	for (size_t i = 0; i < 100; i++)
		memset(blocks[i] = malloc(i * 400 + 1), 2, i * 400 + 1);
	for (size_t i = 0; i < 100; i++)
		free(blocks[i]);
	_exit(0);
}

__attribute__((constructor(101))) static void constructor(void)
{
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, allocate, NULL);
	for (size_t i = 0; i < FORKS; i++) {
		int status;
		pid_t child = fork();
		if (child == 0)
			live();
		if (waitpid(child, &status, 0) != child || status != 0) {
			dprintf(1, "child %zu ended with %#x\n", i, status);
			_exit(1);
		}
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	printf("good\n");
	return 0;
}

/* Two threads free one block at the same moment, ROUNDS times in a process of its own each: it is either reported (the
 * process ends by SIGABRT with one report of a free) or harmless (what is allocated afterwards is handed out once, and
 * the heap serves). Prints how the rounds ended. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 1000
#define BLOCKS 3000
#define SMALL 100

static void *blocks[BLOCKS];
static void *block;
static atomic_int ready;

static void *own_heap(void *result)
{
	for (int i = 0; i < 300; i++)
		free(malloc(SMALL));
	return result;
}

static void *make(void *argument)
{
	own_heap(argument);
	return malloc(SMALL);
}

/* Too little for a heap of its own. */
static void *make_shared(void *argument)
{
	(void)argument;
	return malloc(SMALL);
}

static void *race(void *has_heap)
{
	if (has_heap != NULL)
		own_heap(NULL);
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&ready) < 2)
		;
	free(block);
	return NULL;
}

static int by_address(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return (*left > *right) - (*left < *right);
}

/* Takes blocks, more than the race's heaps held, checks that each is one, frees them. */
static void check_blocks(int count)
{
	for (int i = 0; i < count; i++)
		memset(blocks[i] = malloc(SMALL), i, SMALL);
	qsort(blocks, (size_t)count, sizeof(blocks[0]), by_address);
	for (int i = 1; i < count; i++)
		if (blocks[i] == blocks[i - 1])
			_exit(3);
	for (int i = 0; i < count; i++)
		free(blocks[i]);
}

/* So few that they come from the shared heap. */
static void *check_shared(void *argument)
{
	check_blocks(60);
	return argument;
}

/* The block's owner is main, a third thread that has ended, or nobody: then it is of the shared heap, and two threads race
 * that have no heap of their own. */
static void round_in_child(int kind)
{
	pthread_t thread, other;

	alarm(60);
	own_heap(NULL);
	if (kind != 0) {
		pthread_create(&thread, NULL, kind == 1 ? make : make_shared, NULL);
		pthread_join(thread, &block);
	} else {
		block = malloc(SMALL);
	}
	pthread_create(&thread, NULL, race, kind == 2 ? NULL : &ready);
	if (kind == 2) {
		pthread_create(&other, NULL, race, NULL);
		pthread_join(other, NULL);
	} else {
		race(&ready);
	}
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, check_shared, NULL);
	pthread_join(thread, NULL);
	check_blocks(BLOCKS);
	_exit(0);
}

int main(void)
{
	struct rlimit no_core = { 0, 0 };
	int reported = 0, harmless = 0;

	setrlimit(RLIMIT_CORE, &no_core);
	for (int i = 0; i < ROUNDS; i++) {
		char text[4096];
		int ends[2];
		int status;
		size_t length = 0;
		ssize_t got;
		if (pipe(ends) != 0)
			return 2;
		pid_t child = fork();
		if (child == 0) {
			dup2(ends[1], 2);
			close(ends[0]);
			close(ends[1]);
			round_in_child(i % 3);
		}
		close(ends[1]);
		while ((got = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0)
			length += (size_t)got;
		text[length] = 0;
		close(ends[0]);
		waitpid(child, &status, 0);
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strncmp(text, "quarry: free(0x", 15) == 0 &&
		    (strstr(text, "#double-free\n") != NULL || strstr(text, "#race\n") != NULL ||
		     strstr(text, "#freed-memory\n") != NULL)) {
			reported++;
		} else if (status == 0 && length == 0) {
			harmless++;
		} else {
			printf("round %d: status %#x: %s\n", i, status, text);
			return 1;
		}
	}
	fprintf(stderr, "reported %d, harmless %d\n", reported, harmless);
	printf("each of %d rounds was reported or harmless\n", reported + harmless);
	return 0;
}

/* fork in all its forms while other threads allocate: no child hangs, every child has a heap that serves. `fork MODE`
 * prints "good". */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS 500

static atomic_bool stop;
static atomic_int children;
static bool in_handlers;
extern char **environ;

static void complain(const char *what)
{
	dprintf(1, "%s (%s)\n", what, strerror(errno));
	_exit(2);
}

/* Blocks that pass from thread to thread. */
static _Atomic(void *) exchanged[64];

static void *allocate(void *seed)
{
	unsigned random = (unsigned)(size_t)seed;

	while (!atomic_load(&stop)) {
		random = random * 1103515245 + 12345;
		size_t size = (random >> 8) % 500 == 0 ? 300000 : (random >> 8) % 2000 + 1;
		char *block = random >> 30 == 0 ? calloc(1, size) : malloc(size);
		block[0] = block[size - 1] = 1;
		free(atomic_exchange(&exchanged[random >> 16 & 63], block));
	}
	return NULL;
}

/* In the child: blocks of all threads can be freed, and all kinds be had; another fork works. */
static void live(int depth)
{
	static char *blocks[BLOCKS];
	int status;

	alarm(60);
	for (int i = 0; i < 64; i++)
		free(atomic_exchange(&exchanged[i], NULL));
	for (size_t i = 0; i < BLOCKS; i++)
		memset(blocks[i] = malloc(i * 13 + 1), 7, i * 13 + 1);
	char *large = calloc(1, 400000);
	for (size_t i = 0; i < BLOCKS; i++) {
		if (blocks[i][0] != 7 || blocks[i][i * 13] != 7)
			_exit(4);
		free(blocks[i]);
	}
	if (large == NULL || large[399999] != 0)
		_exit(5);
	free(large);
	if (depth > 0) {
		pid_t child = fork();
		if (child == 0)
			live(depth - 1);
		if (waitpid(child, &status, 0) != child || status != 0)
			_exit(6);
	}
	_exit(0);
}

static void fork_once(int depth)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		complain("fork");
	if (child == 0)
		live(depth);
	if (waitpid(child, &status, 0) != child || status != 0) {
		dprintf(1, "a child ended with status %#x\n", status);
		_exit(2);
	}
	atomic_fetch_add(&children, 1);
}

static void *fork_often(void *rounds)
{
	for (size_t i = 0; i < (size_t)rounds; i++)
		fork_once(i % 16 == 0);
	return NULL;
}

/* Handlers that allocate and free, with blocks kept from one to the next. */
static _Thread_local void *handler_block; /* several threads may fork at once */
static void prepare(void)
{
	free(malloc(100));
	handler_block = calloc(1, 5000);
	free(malloc(100000));
	in_handlers = true;
}
static void after(void)
{
	free(handler_block);
	handler_block = NULL;
	void *block = malloc(3000);
	block = realloc(block, 200000);
	free(block);
}

/* Registered by a constructor of the program: after libquarry.so's. */
static void handlers(void) { pthread_atfork(prepare, after, after); }

static void start(pthread_t *threads, int count)
{
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, allocate, (void *)(size_t)(i + 1)) != 0)
			complain("pthread_create");
}

static void end(pthread_t *threads, int count)
{
	atomic_store(&stop, true);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void *fork_first(void *argument)
{
	fork_once(1);
	return argument;
}

static void *exit_after_fork(void *argument)
{
	(void)argument;
	pid_t child = fork();
	if (child == 0) {
		free(malloc(1000));
		pthread_exit(NULL);     /* the child's only thread: the process ends with 0 */
	}
	int status;
	if (waitpid(child, &status, 0) != child || status != 0)
		complain("pthread_exit in a child");
	return NULL;
}

/* A process that shares memory and thread-local storage with the thread that made it, which waits: blocks pass. */
static int live_in_shared_memory(void *shared)
{
	char **block = shared;

	free(*block);
	for (int i = 0; i < 300; i++)
		free(memset(malloc(i * 30 + 1), 1, i * 30 + 1));
	free(calloc(1, 400000));
	*block = malloc(5000);
	memset(*block, 8, 5000);
	return 7;
}

static void clone_once(void)
{
	static char stack[256 * 1024] __attribute__((aligned(16)));
	char *block = malloc(3000);
	int status;
	pid_t child = clone(live_in_shared_memory, stack + sizeof(stack), CLONE_VM | SIGCHLD, &block);

	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		complain("clone");
	if (block[0] != 8 || block[4999] != 8)
		complain("a block from a clone");
	free(block);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	pthread_t threads[8], forkers[4];
	char *command[] = { "true", NULL };
	int status;

	if (strcmp(mode, "handlers") == 0)
		handlers();
	if (strcmp(mode, "first") == 0) {
		/* A thread that has never allocated forks, and the child's first malloc is the thread's first. */
		for (int i = 0; i < 50; i++) {
			pthread_create(&threads[0], NULL, fork_first, NULL);
			pthread_join(threads[0], NULL);
		}
		dprintf(1, "good\n");
		return 0;
	}
	start(threads, 4);
	if (strcmp(mode, "main") == 0) {
		fork_often((void *)150);
	} else if (strcmp(mode, "threads") == 0 || strcmp(mode, "handlers") == 0) {
		for (int i = 0; i < 4; i++)
			pthread_create(&forkers[i], NULL, fork_often, (void *)40);
		for (int i = 0; i < 4; i++)
			pthread_join(forkers[i], NULL);
		if (strcmp(mode, "handlers") == 0 && !in_handlers)
			complain("no handler ran");
	} else if (strcmp(mode, "vfork") == 0) {
		for (int i = 0; i < 100; i++) {
			/* What the child allocates is its parent's: they share the memory, and the parent waits. */
			char *volatile made = NULL;
			pid_t child = vfork();
			if (child == 0) {
				free(malloc(i * 5000));
				made = strdup("true");
				execlp(made, made, (char *)NULL);
				_exit(9);
			}
			if (waitpid(child, &status, 0) != child || status != 0)
				complain("vfork");
			free(made);
		}
	} else if (strcmp(mode, "spawn") == 0) {
		for (int i = 0; i < 100; i++) {
			pid_t child;
			if (posix_spawnp(&child, "true", NULL, NULL, command, environ) != 0 ||
			    waitpid(child, &status, 0) != child || status != 0)
				complain("posix_spawn");
			free(malloc(100));
		}
	} else if (strcmp(mode, "clone") == 0) {
		for (int i = 0; i < 100; i++)
			clone_once();
	} else if (strcmp(mode, "exit") == 0) {
		for (int i = 0; i < 50; i++) {
			pthread_create(&forkers[0], NULL, exit_after_fork, NULL);
			pthread_join(forkers[0], NULL);
		}
	} else {
		return 127;
	}
	end(threads, 4);
	dprintf(1, "good\n");
	return 0;
}

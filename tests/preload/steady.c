/* Allocates and frees in a steady state between two marks (calls of getppid), in main and in a second thread. What the
 * process asks of the system between them is counted by steady.sh. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCKS 1000

static pthread_barrier_t barrier;

static void churn(int rounds)
{
	void *blocks[BLOCKS] = { NULL };
	unsigned random = 1;

	for (int i = 0; i < rounds * BLOCKS; i++) {
		random = random * 1103515245 + 12345;
		unsigned at = (random >> 16) % BLOCKS;
		free(blocks[at]);
		size_t size = random >> 29 == 0 ? (random >> 8) % 30000 : (random >> 8) % 500;
		blocks[at] = random >> 28 & 1 ? calloc(1, size) : malloc(size);
		if (i % 7 == 0)
			blocks[at] = realloc(blocks[at], size / 2 + 1);
	}
	for (int i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

static void *second(void *argument)
{
	churn(300);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc > 1) {
		pthread_barrier_init(&barrier, NULL, 2);
		pthread_create(&thread, NULL, second, NULL);
		pthread_barrier_wait(&barrier);
	}
	churn(300);
	syscall(SYS_getppid);
	churn(100);
	syscall(SYS_getppid);
	if (argc > 1) {
		pthread_barrier_wait(&barrier);
		pthread_join(thread, NULL);
	}
	return argv == NULL;
}

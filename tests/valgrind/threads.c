/* A program without races of its own, but for the one that the first argument asks for, the bytes of the block that it
 * is in (0: none); the second says how often each thread goes through its work: threads that hand blocks to each other by
 * a queue, under a mutex. What one thread has freed another gets without having met it in between: only the allocator
 * knows that it changed hands. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef QUARRY_NAMES
#include <quarry/quarry.h>
#define malloc quarry_malloc
#define calloc quarry_calloc
#define realloc quarry_realloc
#define aligned_alloc quarry_aligned_alloc
#define free quarry_free
#endif

#define WORKERS 3
#define ROUNDS 60
#define LIVES 3
#define LIFE_US 100000
#define SHELF 64
#define LARGE_BYTES ((size_t)200 << 10)

static pthread_mutex_t shelf_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct { unsigned char *block; size_t bytes; } shelf[SHELF];
static size_t rounds = ROUNDS;

static void must(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	_exit(1);
}

/* Whatever thread had written here before. */
static void use(unsigned char *block, size_t bytes)
{
	must(block != NULL, "no memory");
	memset(block, (int)bytes, bytes < 4096 ? bytes : 4096);
	block[bytes / 2] = block[bytes - 1] = (unsigned char)bytes;
}

static void look(const unsigned char *block, size_t bytes)
{
	must(block[0] == (unsigned char)bytes && block[bytes / 2] == block[0] && block[bytes - 1] == block[0], "content");
}

/* Puts a block on the shelf, and frees what stood there. */
static void hand_over(unsigned char *block, size_t bytes, unsigned place)
{
	pthread_mutex_lock(&shelf_mutex);
	unsigned char *other = shelf[place].block;
	size_t other_bytes = shelf[place].bytes;
	shelf[place].block = block;
	shelf[place].bytes = bytes;
	pthread_mutex_unlock(&shelf_mutex);
	if (other == NULL)
		return;
	look(other, other_bytes);
	free(other);
}

static size_t bytes_for(unsigned number)
{
	static const size_t bytes[] = { 24, 64, 100, 700, 3000, 20000, LARGE_BYTES, 1 << 20 };

	return bytes[number % 8] + number % 5;
}

static void zeroed_block(size_t bytes)
{
	unsigned char *block = calloc(1, bytes);

	must(block != NULL && block[0] == 0 && block[bytes / 2] == 0 && block[bytes - 1] == 0, "not zero");
	use(block, bytes);
	free(block);
}

static void resized_block(size_t bytes)
{
	unsigned char *block = malloc(bytes);

	use(block, bytes);
	for (size_t more = 2; more <= 8; more *= 2) {
		block = realloc(block, bytes * more);
		use(block, bytes * more);
	}
	block = realloc(block, bytes);
	use(block, bytes);
	free(block);
}

/* Frees what it only knows the address of: whoever wrote to it last was waited for by other means. */
static void *take_away(void *argument)
{
	int *pipes = argument;
	unsigned char *block;

	must(read(pipes[0], &block, sizeof(block)) == sizeof(block), "pipe");
	free(block);
	return NULL;
}

static void handed_by_pipe(void)
{
	pthread_t thread;
	int pipes[2];

	must(pipe(pipes) == 0 && pthread_create(&thread, NULL, take_away, pipes) == 0, "pipe");
	unsigned char *block = malloc(100);
	use(block, 100);
	must(write(pipes[1], &block, sizeof(block)) == sizeof(block), "pipe");
	pthread_join(thread, NULL);
	close(pipes[0]);
	close(pipes[1]);
}

static void *work(void *argument)
{
	unsigned number = (unsigned)(uintptr_t)argument * 7919;

	for (size_t round = 0; round < rounds; round++, number++) {
		for (unsigned i = 0; i < 8; i++) {
			size_t bytes = bytes_for(number + i);
			unsigned char *block = malloc(bytes);
			use(block, bytes);
			hand_over(block, bytes, (number * 13 + i * 5) % SHELF);
		}
		zeroed_block(bytes_for(number));
		resized_block(bytes_for(number / 3) / 2);
		unsigned char *aligned = aligned_alloc(256, 512);
		use(aligned, 512);
		free(aligned);
	}
	return NULL;
}

/* What a worker leaves behind is adopted by one that never meets it. All are joined in the end: stacks of detached threads
 * are handed on by the C library in a way that helgrind reports. */
static void *parent(void *argument)
{
	uintptr_t number = (uintptr_t)argument;
	pthread_t workers[LIVES];

	for (uintptr_t life = 0; life < LIVES; life++) {
		must(pthread_create(&workers[life], NULL, work, (void *)(number * LIVES + life)) == 0, "no thread");
		usleep(LIFE_US);
	}
	for (uintptr_t life = 0; life < LIVES; life++)
		pthread_join(workers[life], NULL);
	return NULL;
}

/* ---- A child goes on with what it has inherited. */

static void child(void)
{
	pid_t process = fork();
	int status;

	must(process >= 0, "no fork");
	if (process == 0) {
		for (unsigned i = 0; i < 40; i++) {
			unsigned char *block = malloc(bytes_for(i));
			use(block, bytes_for(i));
			free(block);
		}
		_exit(0);
	}
	must(waitpid(process, &status, 0) == process && status == 0, "child");
}

/* ---- The mistake */

static void *write_one(void *block)
{
	((char *)block)[20] = 1;         /* the race */
	return NULL;
}

static void race(size_t bytes)
{
	pthread_t one, two;
	char *block = malloc(bytes);

	use((unsigned char *)block, bytes);
	must(pthread_create(&one, NULL, write_one, block) == 0, "no thread");
	must(pthread_create(&two, NULL, write_one, block) == 0, "no thread");
	pthread_join(one, NULL);
	pthread_join(two, NULL);
	free(block);
}

int main(int argc, char **argv)
{
	pthread_t parents[WORKERS];

	if (argc > 2)
		rounds = strtoul(argv[2], NULL, 10);
	for (uintptr_t i = 0; i < WORKERS; i++)
		must(pthread_create(&parents[i], NULL, parent, (void *)i) == 0, "no thread");
	child();
	handed_by_pipe();
	for (uintptr_t i = 0; i < WORKERS; i++)
		pthread_join(parents[i], NULL);
	child();
	if (argc > 1 && strtoul(argv[1], NULL, 10) > 0)
		race(strtoul(argv[1], NULL, 10));
	puts("done");
	return 0;
}

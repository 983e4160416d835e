/* Many threads that each used a few sizes a little, and then sleep: what does each cost in resident memory?
 *
 * Stresses per-thread state: caches, arenas and slabs that belong to one thread and that nobody can take from while it
 * sleeps (facebook/rocksdb#4603: "threads x 1 MB"; gperftools/gperftools#1511). Thread pools, and servers with a thread
 * per connection. Each thread allocates four blocks of ten sizes from 24 to 2,000 bytes, writes them, and frees half.
 * The figure holds the thread's own live blocks (about 10 KiB) and its stack's touched pages (about 8 KiB).
 */
#include "bench.h"
#include <pthread.h>

enum { STACK_BYTES = 65536, BLOCKS_EACH = 4 };

static const size_t sizes[] = {24, 40, 64, 100, 160, 256, 400, 640, 1200, 2000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t one_more_sleeps = PTHREAD_COND_INITIALIZER;
static pthread_cond_t wake_up = PTHREAD_COND_INITIALIZER;
static uint64_t asleep; /* threads that have done their work; protected by lock */
static int may_end;     /* protected by lock */

static void *use_a_little(void *unused)
{
	char *blocks[SIZES][BLOCKS_EACH];
	(void)unused;
	for (int s = 0; s < SIZES; s++)
		for (int b = 0; b < BLOCKS_EACH; b++) {
			blocks[s][b] = need(malloc(sizes[s]));
			memset(blocks[s][b], b, sizes[s]);
		}
	for (int s = 0; s < SIZES; s++)
		for (int b = 0; b < BLOCKS_EACH; b += 2)
			free(blocks[s][b]);

	pthread_mutex_lock(&lock);
	asleep++;
	pthread_cond_signal(&one_more_sleeps);
	while (!may_end)
		pthread_cond_wait(&wake_up, &lock);
	pthread_mutex_unlock(&lock);

	for (int s = 0; s < SIZES; s++)
		for (int b = 1; b < BLOCKS_EACH; b += 2)
			free(blocks[s][b]);
	return NULL;
}

/* One after the other: how many threads are at work at once would decide what some allocators share. */
static void thread_start(pthread_t *thread, const pthread_attr_t *small_stack, uint64_t asleep_after)
{
	int error = pthread_create(thread, small_stack, use_a_little, NULL);
	if (error)
		fail("cannot create thread %llu: %s", (unsigned long long)asleep_after, strerror(error));
	pthread_mutex_lock(&lock);
	while (asleep < asleep_after)
		pthread_cond_wait(&one_more_sleeps, &lock);
	pthread_mutex_unlock(&lock);
}

int main(int argc, char **argv)
{
	uint64_t count = 1000;
	const struct argument rows[] = {{"threads", &count, 1, 100000, "threads"}};
	ARGUMENTS(argc, argv, rows);

	pthread_t *threads = table_new(count, sizeof *threads);
	pthread_attr_t small_stack;
	pthread_attr_init(&small_stack);
	if (pthread_attr_setstacksize(&small_stack, STACK_BYTES))
		fail("this system has no stacks of %d bytes", STACK_BYTES);

	uint64_t before = resident_kib();
	for (uint64_t i = 0; i < count; i++)
		thread_start(&threads[i], &small_stack, i + 1);
	uint64_t after = resident_kib();

	pthread_mutex_lock(&lock);
	may_end = 1;
	pthread_cond_broadcast(&wake_up);
	pthread_mutex_unlock(&lock);
	for (uint64_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);

	result("per_thread", ((double)after - (double)before) / (double)count, "KiB");
	return 0;
}

/* Producers and consumers: blocks are allocated by some threads and freed by others, with a bounded number live.
 *
 * Stresses frees from other threads, and the blow-up that comes when freed blocks don't find their way back: no more
 * than --live is live at once, so a peak far above it is the allocator's. Reported against several allocators (437 MiB
 * grew to 1.8 GiB where the freeing thread never allocated: microsoft/mimalloc#1364); as a benchmark known as
 * xmalloc-test (Lever and Boreham 2000). Forms: --producers N --consumers M share one queue; --ring N gives each of N
 * threads a queue of its own: it frees what it gets and allocates for the next.
 */
#include "batch_queue.h"

enum { THREADS_MOST = 256 };

static uint64_t producers = 1, consumers = 1, ring = 0, live_mb = 64, block_count = 8000000, least = 16, most = 1024;
static struct queue queues[THREADS_MOST]; /* the first alone, or one per thread of the ring */
static uint64_t batches_each;             /* per producing thread */
static uint64_t live_bytes, batch_bytes;  /* the bound; the mean of a batch */

static void batch_fill(struct batch *batch, uint64_t *seed)
{
	batch->bytes = 0;
	for (int i = 0; i < BATCH_BLOCKS; i++) {
		uint64_t bytes = random_between(seed, least, most);
		char *block = need(malloc(bytes));
		for (uint64_t at = 0; at < bytes; at += 64)
			block[at] = (char)i;
		batch->blocks[i] = block;
		batch->bytes += bytes;
	}
}

static void batch_free(struct batch *batch)
{
	for (int i = 0; i < BATCH_BLOCKS; i++)
		free(batch->blocks[i]);
}

static void *produce(void *number)
{
	uint64_t seed = (uintptr_t)number;
	struct batch batch;
	for (uint64_t n = 0; n < batches_each; n++) {
		batch_fill(&batch, &seed);
		queue_put(&queues[0], &batch);
	}
	queue_finish(&queues[0]);
	return NULL;
}

static void *consume(void *number)
{
	struct batch batch;
	(void)number;
	while (queue_take(&queues[0], &batch))
		batch_free(&batch);
	return NULL;
}

/* Puts its share of the live set first, then one for each it takes: the number of batches in the ring stays the same. */
static void *pass_on(void *number)
{
	uint64_t self = (uintptr_t)number, seed = self, ahead = live_bytes / ring / batch_bytes;
	struct queue *mine = &queues[self], *next = &queues[(self + 1) % ring];
	struct batch batch;
	for (uint64_t n = 0; n < batches_each; n++) {
		if (n >= ahead && queue_take(mine, &batch))
			batch_free(&batch);
		batch_fill(&batch, &seed);
		queue_put(next, &batch);
	}
	queue_finish(next);
	while (queue_take(mine, &batch))
		batch_free(&batch);
	return NULL;
}

static void threads_start(pthread_t *threads, uint64_t count, void *(*run)(void *))
{
	for (uintptr_t i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			fail("cannot create a thread");
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"producers", &producers, 1, THREADS_MOST, "threads that allocate"},
	    {"consumers", &consumers, 1, THREADS_MOST, "threads that free"},
	    {"ring", &ring, 0, THREADS_MOST, "threads in a ring that do both, in place of the two above; 0 is none"},
	    {"live", &live_mb, 1, 1000000, "bound of the live blocks in MB"},
	    {"blocks", &block_count, 1, UINT64_MAX, "blocks in all"},
	    {"min", &least, 1, UINT32_MAX / 2, "smallest block in bytes"},
	    {"max", &most, 1, UINT32_MAX / 2, "largest block in bytes"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t makers = ring ? ring : producers;
	live_bytes = live_mb * 1000000;
	batch_bytes = BATCH_BLOCKS * (least + most) / 2;
	batches_each = (block_count + makers * BATCH_BLOCKS - 1) / (makers * BATCH_BLOCKS);
	if (least > most)
		fail("--min is larger than --max");
	/* Below this a queue could be too full to put and too empty to take. */
	if (live_bytes < 4 * makers * BATCH_BLOCKS * most)
		fail("--live %llu is too little for %llu threads: at least %llu", (unsigned long long)live_mb,
		     (unsigned long long)makers, (unsigned long long)(4 * makers * BATCH_BLOCKS * most / 1000000 + 1));

	uint64_t start = now_ns();
	pthread_t threads[2 * THREADS_MOST];
	uint64_t thread_count = ring ? ring : producers + consumers;
	if (ring) { /* room for the whole ring's batches in each queue: a put never waits, so the ring can't lock up */
		for (uint64_t i = 0; i < ring; i++)
			queue_init(&queues[i], 4 * live_bytes, 0, batch_bytes, 1);
		threads_start(threads, ring, pass_on);
	} else {
		queue_init(&queues[0], live_bytes, live_bytes / 2, batch_bytes, producers);
		threads_start(threads, producers, produce);
		threads_start(threads + producers, consumers, consume);
	}
	for (uint64_t i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	uint64_t elapsed = now_ns() - start;

	uint64_t blocks = makers * batches_each * BATCH_BLOCKS;
	result("block", (double)elapsed / (double)blocks, "ns");
	/* Against the bound; the queue's own table and the program are in it. bench/run checks the peak itself. */
	result("peak_to_live", (double)peak_kib() * 1024 / (double)live_bytes, "count");
	return 0;
}

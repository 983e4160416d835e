/* Producers and consumers: blocks are allocated by some threads and freed by others, with a bounded number live.
 *
 * Stresses frees from other threads, and the blow-up that comes when freed blocks don't find their way back: no more
 * than --live is live at once, so a peak far above it is the allocator's. Reported against several allocators (437 MiB
 * grew to 1.8 GiB where the freeing thread never allocated: microsoft/mimalloc#1364); as a benchmark known as
 * xmalloc-test (Lever and Boreham 2000). Forms: --producers N --consumers M share one queue; --ring N gives each of N
 * threads a queue of its own: it frees what it gets and allocates for the next.
 */
#include "batch_queue.h"
#include "crew.h"

enum { THREADS_MOST = 256 };

static uint64_t producers = 1, consumers = 1, ring = 0, live_mb = 100, block_count = 4000000, least = 16, most = 1024;
static struct queue queues[THREADS_MOST]; /* the first alone, or one per thread of the ring */
static uint64_t batches_each;             /* per producing thread */
static uint64_t live_bytes, batch_bytes;  /* the bound; the mean of a batch */

static void produce(uint64_t seed)
{
	struct batch batch;
	for (uint64_t n = 0; n < batches_each; n++) {
		batch_fill(&batch, least, most, &seed);
		queue_put(&queues[0], &batch);
	}
	queue_finish(&queues[0]);
}

static void consume(void)
{
	struct batch batch;
	while (queue_take(&queues[0], &batch))
		batch_free(&batch);
}

/* Puts its share of the live set first, then one for each it takes: the number of batches in the ring stays. */
static void pass_on(uint64_t self)
{
	uint64_t seed = self, ahead = live_bytes / ring / batch_bytes;
	struct queue *mine = &queues[self], *next = &queues[(self + 1) % ring];
	struct batch batch;
	for (uint64_t n = 0; n < batches_each; n++) {
		if (n >= ahead && queue_take(mine, &batch))
			batch_free(&batch);
		batch_fill(&batch, least, most, &seed);
		queue_put(next, &batch);
	}
	queue_finish(next);
	while (queue_take(mine, &batch))
		batch_free(&batch);
}

static void *work(void *number)
{
	uint64_t self = (uintptr_t)number;
	if (ring)
		pass_on(self);
	else if (self < producers)
		produce(self);
	else
		consume();
	return NULL;
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"producers", &producers, 1, THREADS_MOST, "threads that allocate"},
	    {"consumers", &consumers, 1, THREADS_MOST, "threads that free"},
	    {"ring", &ring, 0, THREADS_MOST, "threads in a ring that do both, in place of the two above; 0 is none"},
	    {"live", &live_mb, 1, 1000000, "bound of the live blocks in MB"},
	    {"blocks", &block_count, 1, UINT64_MAX, "blocks in all"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
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
	if (ring) /* room for the whole ring's batches in each queue: a put never waits, so the ring can't lock up */
		for (uint64_t i = 0; i < ring; i++)
			queue_init(&queues[i], 4 * live_bytes, 0, batch_bytes, 1);
	else
		queue_init(&queues[0], live_bytes, live_bytes / 2, batch_bytes, producers);
	crew_run(ring ? ring : producers + consumers, work);
	uint64_t elapsed = now_ns() - start;

	uint64_t blocks = makers * batches_each * BATCH_BLOCKS;
	result("block", (double)elapsed / (double)blocks, "ns");
	/* Against the bound; the queue's own table and the program are in it. the runner measures the peak itself. */
	result("peak_to_live", (double)peak_kib() * 1024 / (double)live_bytes, "count");
	return 0;
}

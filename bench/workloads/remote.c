/* Two threads that free each other's blocks in random order.
 *
 * Stresses the way home of a block that another thread frees, where the frees of one slab neither come together nor in
 * order. Each thread hands batches of new blocks to the other; who gets a batch mixes it into a pool of blocks it holds
 * and frees as many others from random places. Work queues and actors do this; the pattern of xmalloc-test (Lever and
 * Boreham 2000), made harder. No more is live than both pools and a few batches.
 */
#include "batch_queue.h"
#include "crew.h"

enum { PAIR = 2, BATCHES_AHEAD = 8 };

static struct queue queues[PAIR]; /* the batches on their way to each of the two */
static uint64_t pool_blocks = 20000, batches_each, least = 16, most = 512;

static void pool_mix(void **pool, const struct batch *batch, uint64_t *seed)
{
	for (int i = 0; i < BATCH_BLOCKS; i++) {
		uint64_t at = random_below(seed, pool_blocks);
		block_free(pool[at]);
		pool[at] = batch->blocks[i];
	}
}

static void *exchange(void *number)
{
	uint64_t self = (uintptr_t)number, seed = self;
	struct queue *mine = &queues[self], *other = &queues[1 - self];
	void **pool = table_new(pool_blocks, sizeof *pool);
	struct batch batch;
	for (uint64_t n = 0; n < batches_each; n++) {
		batch_fill(&batch, least, most, &seed);
		queue_put(other, &batch);
		if (n >= BATCHES_AHEAD && queue_take(mine, &batch))
			pool_mix(pool, &batch, &seed);
	}
	queue_finish(other);
	while (queue_take(mine, &batch))
		pool_mix(pool, &batch, &seed);
	for (uint64_t i = 0; i < pool_blocks; i++)
		block_free(pool[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t block_count = 6000000;
	const struct argument rows[] = {
	    {"blocks", &block_count, 1, UINT64_MAX, "blocks in all"},
	    {"pool", &pool_blocks, 1, UINT32_MAX, "blocks that each thread holds"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");
	batches_each = block_count / PAIR / BATCH_BLOCKS + 1;
	/* Bounds that are never reached: a put doesn't wait, so that the two can't wait for each other. */
	for (int i = 0; i < PAIR; i++)
		queue_init(&queues[i], 4 * BATCHES_AHEAD * BATCH_BLOCKS * most, 0, BATCH_BLOCKS * most, 1);

	uint64_t start = now_ns();
	crew_run(PAIR, exchange);
	result("block", (double)(now_ns() - start) / (double)(PAIR * batches_each * BATCH_BLOCKS), "ns");
	return 0;
}

/* Blocks that are freed newest first (a stack) or oldest first (a queue).
 *
 * Stresses the two orders at the ends of the scale: a stack takes back the block it has just freed, the best case of
 * every free list; a queue takes what was freed longest ago, so that with many blocks live each one is cold in the
 * caches. Nested calls, arenas and parsers free as a stack, message queues and buffers as a queue. The stack is filled,
 * then emptied, the next time only down to a depth chosen at random, and so on.
 */
#include "bench.h"

static uint64_t live = 1000, operations = 10000000, least = 16, most = 256, seed = 1;
static void **blocks;

static void stack_run(void)
{
	uint64_t depth = 0;
	for (uint64_t n = 0, round = 0; n < operations; round++) {
		uint64_t floor = round % 2 ? random_below(&seed, live) : 0;
		for (; depth < live; n++)
			blocks[depth++] = block_new(random_between(&seed, least, most));
		while (depth > floor)
			block_free(blocks[--depth]);
	}
	while (depth)
		block_free(blocks[--depth]);
}

static void queue_run(void)
{
	uint64_t head = 0;
	for (uint64_t n = 0; n < operations; n++) {
		block_free(blocks[head]);
		blocks[head] = block_new(random_between(&seed, least, most));
		head = head + 1 == live ? 0 : head + 1;
	}
	for (uint64_t i = 0; i < live; i++, head = head + 1 == live ? 0 : head + 1)
		block_free(blocks[head]);
}

int main(int argc, char **argv)
{
	uint64_t lifo = 0;
	const struct argument rows[] = {
	    {"lifo", &lifo, 0, 1, "1 frees the newest first, 0 the oldest"},
	    {"live", &live, 1, UINT32_MAX, "most blocks live at any time"},
	    {"operations", &operations, 1, UINT64_MAX, "blocks in all; a stack is filled to the end"},
	    {"min", &least, BLOCK_LEAST, BLOCK_MOST, "smallest block in bytes"},
	    {"max", &most, BLOCK_LEAST, BLOCK_MOST, "largest block in bytes"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	if (least > most)
		fail("--min is larger than --max");
	blocks = table_new(live, sizeof *blocks);

	uint64_t start = now_ns();
	if (lifo)
		stack_run();
	else
		queue_run();
	result("pair", (double)(now_ns() - start) / (double)operations, "ns");
	return 0;
}

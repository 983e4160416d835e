/* Bulk build and tear-down of a linked list or a binary tree: in the order it was built, in reverse, and at random.
 *
 * Stresses long runs of malloc alone and of free alone, which no cache of recent blocks can absorb, and the order of
 * the frees: in build order neighbours come free together, at random nearly every page keeps a live block until the
 * end. Compilers, parsers and XML trees; the tree is that of the binary-trees benchmark (Ellis, Kovac, Boehm: GCBench
 * 1997). One order per run (--order). Rounds follow each other on the same heap: an allocator that hands blocks out in
 * the order in which they were freed builds the next structure as scattered as the last tear-down left it, and pays in
 * cache misses. Each tree node has a name of 8-48 bytes as a second block. The tear-down reads each node before it
 * frees it.
 */
#include "bench.h"

struct node {
	struct node *left, *right; /* a list uses left only */
	void *name;
	uint64_t number;
};

static struct node **nodes; /* in build order; outside the allocator that is measured */
static uint64_t built, tree = 0, seed = 1;

static struct node *node_new(void)
{
	struct node *node = need(malloc(sizeof *node));
	node->left = node->right = NULL;
	node->name = NULL;
	node->number = built;
	nodes[built++] = node;
	if (tree) {
		node->name = block_new(random_between(&seed, 8, 48));
	}
	return node;
}

static void list_build(uint64_t count)
{
	struct node *last = NULL;
	for (uint64_t i = 0; i < count; i++) {
		struct node *node = node_new();
		node->left = last;
		last = node;
	}
}

/* A balanced tree of count nodes, the root first. */
static struct node *tree_build(uint64_t count)
{
	if (!count)
		return NULL;
	struct node *node = node_new();
	node->left = tree_build((count - 1) / 2);
	node->right = tree_build(count - 1 - (count - 1) / 2);
	return node;
}

static uint64_t node_free(struct node *node)
{
	uint64_t number = node->number;
	block_free(node->name);
	free(node);
	return number;
}

enum order { ORDER_BUILT, ORDER_REVERSE, ORDER_RANDOM, ORDERS };

static uint64_t tear_down_ns(enum order order, uint64_t count)
{
	uint64_t sum = 0;
	if (order == ORDER_RANDOM)
		shuffle((void **)nodes, count, &seed);
	uint64_t start = now_ns();
	for (uint64_t i = 0; i < count; i++)
		sum += node_free(nodes[order == ORDER_REVERSE ? count - 1 - i : i]);
	uint64_t elapsed = now_ns() - start;
	if (sum != count * (count - 1) / 2)
		fail("the nodes' numbers don't add up");
	return elapsed;
}

int main(int argc, char **argv)
{
	uint64_t count = 1000000, rounds = 4, order = ORDER_BUILT, build_ns = 0, free_ns = 0;
	const struct argument rows[] = {
	    {"tree", &tree, 0, 1, "1 is a tree with names, 0 a list"},
	    {"order", &order, 0, ORDERS - 1, "of the frees: 0 as built, 1 in reverse, 2 at random"},
	    {"nodes", &count, 1, UINT32_MAX, "nodes"},
	    {"rounds", &rounds, 1, 1000000, "times it is built and freed"},
	};
	ARGUMENTS(argc, argv, rows);
	nodes = table_new(count, sizeof(struct node *));

	for (uint64_t round = 0; round < rounds; round++) {
		built = 0;
		uint64_t start = now_ns();
		if (tree)
			tree_build(count);
		else
			list_build(count);
		build_ns += now_ns() - start;
		free_ns += tear_down_ns(order, count);
	}

	result("build", (double)build_ns / (double)(rounds * count), "ns");
	result("free", (double)free_ns / (double)(rounds * count), "ns");
	return 0;
}

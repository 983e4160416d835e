/* A list of small blocks that is built, walked and taken apart: guard modes pay for a page, and its misses, per node.
 */
#include "guard_kernel.h"

struct node {
	struct node *next;
	uint64_t key;
	uint64_t unused[2];
};

static uint64_t nodes = 200000, walks = 10, kernel;

int main(int argc, char **argv)
{
	const struct argument rows[] = {
		{ "nodes", &nodes, 1, 100000000, "blocks of 32 bytes that live" },
		{ "walks", &walks, 0, 1000000, "times that all are read" },
		{ "kernel", &kernel, 0, 1, "1: no allocator, only what the kernel must do" },
	};
	ARGUMENTS(argc, argv, rows);
	struct node *list = NULL;
	uint64_t sum = 0, seed = 1;
	for (uint64_t i = 0; i < nodes; i++) {
		struct node *node = kernel ? kernel_malloc(sizeof(*node)) : need(malloc(sizeof(*node)));
		*node = (struct node){ .next = list, .key = random_next(&seed) };
		list = node;
	}
	for (uint64_t i = 0; i < walks; i++)
		for (struct node *node = list; node; node = node->next)
			sum += node->key;
	while (list) {
		struct node *next = list->next;
		(kernel ? kernel_free : free)(list);
		list = next;
	}
	result("sum", (double)(sum % 1000), "count");
	return 0;
}

/* A library whose own ifunc resolver allocates. The loader relocates libraries last to first, and the function is the
 * library's own, so its resolver runs before libquarry.so, preloaded and thus further up, is relocated. */
#include <stdlib.h>

static void *kept;
static int answer(void) { return 42; }

static int (*resolve(void))(void)
{
	kept = malloc(100);
	free(malloc(200));
	return answer;
}

__attribute__((visibility("hidden"))) int hidden_answer(void) __attribute__((ifunc("resolve")));

int resolver_answer(void)
{
	free(kept);
	kept = NULL;
	return hidden_answer();
}

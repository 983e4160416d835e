/* calloc of 1 GiB, one page touched, free: a thousand times.
 *
 * Shows whether zeroed memory from the kernel is zeroed once more, and what is left resident. The page is somewhere
 * else each time and must be zero. An allocator that clears the block takes minutes: after --seconds the rest is
 * extrapolated. Run by bench/targets.
 */
#include "bench.h"

int main(int argc, char **argv)
{
	uint64_t operations = 1000, mib = 1024, seconds = 1, seed = 1, done = 0;
	const struct argument rows[] = {
	    {"operations", &operations, 1, UINT64_MAX, "blocks, one after the other"},
	    {"mib", &mib, 1, 4095, "MiB of each"},
	    {"seconds", &seconds, 1, 1000, "after which the rest is extrapolated"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t bytes = mib << 20, start = now_ns(), elapsed;

	do {
		char *block = need(calloc(1, bytes));
		uint64_t at = random_below(&seed, bytes);
		if (block[at])
			fail("a block of calloc isn't zero at offset %llu", (unsigned long long)at);
		block[at] = 1;
		free(block);
		elapsed = now_ns() - start;
	} while (++done < operations && elapsed < seconds * 1000000000u);

	result("seconds", (double)elapsed / 1e9 * ((double)operations / (double)done), "s");
	result("peak", (double)peak_kib() / 1024, "MiB");
	return 0;
}

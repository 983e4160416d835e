/* Latency of single calls: each malloc and each free is timed by itself, and all times go into histograms.
 *
 * Shows what means hide: the call that takes a lock, fills a slab, or gives pages back to the kernel - the frames that
 * come late and the requests in the 99.99th percentile. Sizes are 16 bytes to 64 KiB, most of them small; the blocks of
 * 20,000 slots are replaced at random, and now and then a burst of 2,000 comes and goes. What the machine itself takes
 * away is measured beside it: "noise" is as many timed operations that do nothing. Times contain the clock's own cost.
 * --json PATH writes the histograms; buckets are eighths of a doubling.
 */
#define HISTOGRAM_STEPS_LOG2 3
#include "histogram.h"

#if defined(__x86_64__)
#include <x86intrin.h>

/* Not before the code above it is done, and before the code below begins. */
static inline uint64_t ticks(void)
{
	unsigned processor;
	uint64_t now = __rdtscp(&processor);
	_mm_lfence();
	return now;
}
#else
static inline uint64_t ticks(void)
{
	return now_ns();
}
#endif

enum { SLOTS = 20000, BURST_BLOCKS = 2000, BURST_EVERY = 50000, LEAST = 16, MOST = 65536 };

struct histogram {
	const char *name;
	struct buckets buckets; /* by ticks */
	uint64_t longest_ticks, longest_operation, longest_bytes;
};

static struct histogram of_malloc = {.name = "malloc"}, of_free = {.name = "free"}, noise = {.name = "noise"};
static uint64_t operation, seed = 1;
static double ns_per_tick;

static inline void record(struct histogram *histogram, uint64_t time, uint64_t bytes)
{
	buckets_add(&histogram->buckets, time);
	if (time > histogram->longest_ticks) {
		histogram->longest_ticks = time;
		histogram->longest_operation = operation;
		histogram->longest_bytes = bytes;
	}
	operation++;
}

/* The smaller one of two: half of the blocks are below 330 bytes. */
static void *timed_malloc(void)
{
	uint64_t one = random_spread(&seed, LEAST, MOST), other = random_spread(&seed, LEAST, MOST);
	uint64_t bytes = one < other ? one : other, start = ticks();
	void *block = malloc(bytes);
	uint64_t end = ticks();
	record(&of_malloc, end - start, bytes);
	block_mark(need(block), bytes);
	return block;
}

static void timed_free(void *block)
{
	uint64_t bytes = block_check(block), start = ticks();
	free(block);
	uint64_t end = ticks();
	record(&of_free, end - start, bytes);
}

static void burst(void **blocks)
{
	for (int i = 0; i < BURST_BLOCKS; i++)
		blocks[i] = timed_malloc();
	for (int i = 0; i < BURST_BLOCKS; i++)
		timed_free(blocks[i]);
}

static void operations_run(uint64_t count)
{
	static void *slots[SLOTS], *blocks[BURST_BLOCKS];
	for (uint64_t n = 0; operation < count; n++) {
		void **slot = &slots[random_below(&seed, SLOTS)];
		if (*slot)
			timed_free(*slot);
		*slot = timed_malloc();
		if (n % BURST_EVERY == 0)
			burst(blocks);
	}
	for (int i = 0; i < SLOTS; i++)
		free(slots[i]);
}

static void noise_run(uint64_t count)
{
	operation = 0;
	while (operation < count) {
		uint64_t start = ticks(), end = ticks();
		record(&noise, end - start, 0);
	}
}

static double percentile_ns(const struct histogram *histogram, double share)
{
	return (double)buckets_percentile(&histogram->buckets, share) * ns_per_tick;
}

static void json_histogram(FILE *out, const struct histogram *histogram)
{
	const char *comma = "";
	fprintf(out, "\"%s\": {\"buckets\": [", histogram->name);
	for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
		if (histogram->buckets.counts[bucket]) {
			fprintf(out, "%s[%.1f, %llu]", comma, (double)bucket_least(bucket) * ns_per_tick,
				(unsigned long long)histogram->buckets.counts[bucket]);
			comma = ", ";
		}
	fprintf(out, "], \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"p9999\": %.1f, \"max\": %.1f, ",
		percentile_ns(histogram, 0.5), percentile_ns(histogram, 0.99), percentile_ns(histogram, 0.999),
		percentile_ns(histogram, 0.9999), (double)histogram->longest_ticks * ns_per_tick);
	fprintf(out, "\"longest\": {\"operation\": %llu, \"bytes\": %llu}}",
		(unsigned long long)histogram->longest_operation, (unsigned long long)histogram->longest_bytes);
}

static void json_write(const char *path)
{
	FILE *out = fopen(path, "w");
	if (!out)
		fail("%s: %s", path, strerror(errno));
	const struct histogram *const all[] = {&of_malloc, &of_free, &noise};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		fputs(i ? ",\n " : "{", out);
		json_histogram(out, all[i]);
	}
	fputs("}\n", out);
	if (fclose(out))
		fail("%s: %s", path, strerror(errno));
}

/* Takes "--json PATH" out of the arguments, which are numbers otherwise. NULL when it isn't there. */
static const char *json_argument(int *argc, char **argv)
{
	for (int at = 1; at + 1 < *argc; at += 2)
		if (strcmp(argv[at], "--json") == 0) {
			const char *path = argv[at + 1];
			memmove(&argv[at], &argv[at + 2], (size_t)(*argc - at - 1) * sizeof *argv);
			*argc -= 2;
			return path;
		}
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t count = 20000000;
	const char *json = json_argument(&argc, argv);
	const struct argument rows[] = {
	    {"operations", &count, 1, UINT64_MAX, "calls of malloc and of free together (--json PATH for the histograms)"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);

	uint64_t start_ns = now_ns(), start = ticks();
	operations_run(count);
	noise_run(count);
	ns_per_tick = (double)(now_ns() - start_ns) / (double)(ticks() - start);

	if (json)
		json_write(json);
	result("malloc_p50", percentile_ns(&of_malloc, 0.5), "ns");
	result("free_p50", percentile_ns(&of_free, 0.5), "ns");
	result("malloc_p999", percentile_ns(&of_malloc, 0.999), "ns");
	result("free_p999", percentile_ns(&of_free, 0.999), "ns");
	result("malloc_max", (double)of_malloc.longest_ticks * ns_per_tick, "ns");
	result("free_max", (double)of_free.longest_ticks * ns_per_tick, "ns");
	result("noise_p999", percentile_ns(&noise, 0.999), "ns");
	result("noise_max", (double)noise.longest_ticks * ns_per_tick, "ns");
	return 0;
}

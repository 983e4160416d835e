/* Calls while memory goes back: one thread allocates and frees 200 MB, twenty times in a row and then after a silence
 * in which the memory ages; another times its own calls.
 *
 * Stresses what giving pages back costs those who don't: a purge that holds a lock over its system calls, or that is
 * done by whoever comes by, shows in the longest pauses of threads with small, short-lived blocks. The stalls that
 * tcmalloc's and jemalloc's users know from their latency graphs (jemalloc's decay replaced bursts of purging for this
 * reason, its ChangeLog for 4.1.0). A third thread looks at the clock for about as long in place of the calls: "noise"
 * is what the machine and its other programs take away. Batches of timed operations with a short sleep between, so
 * that the scheduler does not punish the measuring threads for their hunger. Times contain the clock's own cost.
 */
#define HISTOGRAM_STEPS_LOG2 4
#include "crew.h"
#include "histogram.h"
#include <sys/resource.h>

enum { MB = 1000000, BURST_SMALLEST = 16, BURST_LARGEST = 262144, BLOCK_SMALLEST = 16, BLOCK_LARGEST = 32768 };
enum { SLOTS = 2000, BATCH = 200, BATCH_NS = 60000, BATCH_PAUSE_NS = 200000 };
enum { BURSTS_IN_A_ROW = 20, LONG_NS = 50000 };

struct histogram {
	struct buckets buckets; /* by ns; written by one thread */
	uint64_t longest_ns;
	uint64_t longest_own_ns; /* of those in which the scheduler did not take the processor away */
};

static struct histogram of_malloc, of_free, noise;
static uint64_t burst_mb = 200, silent_ms = 1300, run_ms = 5000, seed = 1, bursts;
static _Thread_local long preemptions_before; /* as of the beginning of this batch, or the last long operation */
static uint64_t end_ns; /* written before the threads start */

/* How often the scheduler took the processor from this thread. Waiting for a lock is something else. */
static long preemptions(void)
{
	struct rusage usage;
	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nivcsw;
}

static void record(struct histogram *histogram, uint64_t ns)
{
	if (ns >= LONG_NS) {
		long now = preemptions();
		if (now == preemptions_before && ns > histogram->longest_own_ns)
			histogram->longest_own_ns = ns;
		preemptions_before = now;
	}
	buckets_add(&histogram->buckets, ns);
	if (ns > histogram->longest_ns)
		histogram->longest_ns = ns;
}

static double percentile_us(const struct histogram *histogram, double share)
{
	return (double)buckets_percentile(&histogram->buckets, share) / 1000;
}

static void silence(void)
{
	uint64_t now = now_ns(), ns = silent_ms * 1000000;
	if (now + ns > end_ns)
		ns = now < end_ns ? end_ns - now : 0;
	const struct timespec pause = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	nanosleep(&pause, NULL);
}

static void bursts_run(void)
{
	size_t most = burst_mb * MB / BURST_SMALLEST + 1;
	void **blocks = table_new(most, sizeof *blocks);
	uint64_t state = seed;
	while (now_ns() < end_ns) {
		uint64_t count = 0;
		for (uint64_t bytes = 0, next; bytes < burst_mb * MB; bytes += next) {
			next = random_spread(&state, BURST_SMALLEST, BURST_LARGEST);
			blocks[count++] = block_new_touched(next);
		}
		shuffle(blocks, count, &state);
		for (uint64_t i = 0; i < count; i++)
			block_free(blocks[i]);
		if (++bursts % BURSTS_IN_A_ROW == 0)
			silence();
	}
}

static void *malloc_timed(uint64_t bytes)
{
	uint64_t start = now_ns();
	void *block = malloc(bytes);
	record(&of_malloc, now_ns() - start);
	block_mark(need(block), bytes);
	return block;
}

static void free_timed(void *block)
{
	block_check(block);
	uint64_t start = now_ns();
	free(block);
	record(&of_free, now_ns() - start);
}

static void calls_time(void **slots, uint64_t *state)
{
	for (int i = 0; i < BATCH; i++) {
		uint64_t at = random_below(state, SLOTS), bytes = random_spread(state, BLOCK_SMALLEST, BLOCK_LARGEST);
		if (slots[at])
			free_timed(slots[at]);
		slots[at] = malloc_timed(bytes);
	}
}

/* Each look at the clock is timed from the one before, so that no interruption falls between two timed operations. */
static void noise_time(void)
{
	uint64_t start = now_ns(), last = start;
	while (last < start + BATCH_NS) {
		uint64_t now = now_ns();
		record(&noise, now - last);
		last = now;
	}
}

static void batches_run(void **slots)
{
	const struct timespec pause = {0, BATCH_PAUSE_NS};
	uint64_t state = seed + 1;
	while (now_ns() < end_ns) {
		preemptions_before = preemptions();
		if (slots)
			calls_time(slots, &state);
		else
			noise_time();
		nanosleep(&pause, NULL);
	}
}

static void *part_run(void *number)
{
	static void *slots[SLOTS];
	if ((uintptr_t)number == 0)
		bursts_run();
	else
		batches_run((uintptr_t)number == 1 ? slots : NULL);
	return NULL;
}

static void report(const char *name, const struct histogram *histogram)
{
	char key[32];
	snprintf(key, sizeof key, "%s_p50", name);
	result(key, percentile_us(histogram, 0.5), "us");
	snprintf(key, sizeof key, "%s_p999", name);
	result(key, percentile_us(histogram, 0.999), "us");
	snprintf(key, sizeof key, "%s_max", name);
	result(key, (double)histogram->longest_ns / 1000, "us");
	snprintf(key, sizeof key, "%s_own_max", name);
	result(key, (double)histogram->longest_own_ns / 1000, "us");
}

int main(int argc, char **argv)
{
	const struct argument rows[] = {
	    {"mb", &burst_mb, 1, 100000, "MB of each burst"},
	    {"silent-ms", &silent_ms, 0, 3600000, "how long the bursts stop after twenty"},
	    {"run-ms", &run_ms, 1, 3600000, "how long the threads run"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	end_ns = now_ns() + run_ms * 1000000;
	crew_run(3, part_run);
	report("malloc", &of_malloc);
	report("free", &of_free);
	report("noise", &noise);
	result("bursts", (double)bursts, "count");
	result("timed", (double)(of_malloc.buckets.total + of_free.buckets.total), "count");
	return 0;
}

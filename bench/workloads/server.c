/* An aging server: request after request allocates blocks, each lives for a number of requests of its own, and what the
 * sizes are changes with the time of day.
 *
 * Stresses fragmentation: long-lived blocks are spread over the pages that the last phase filled, and the next phase
 * wants other sizes. Sizes lie around a centre (four times smaller to four times larger, evenly over the logarithm)
 * that moves between 64 bytes and 16 KiB in eight phases; the bytes of a request stay the same. Lifetimes are
 * exponential (--tail 0) or Pareto's with exponent 1 and a cap (--tail 1), as in the studies of Robson (1977),
 * Johnstone and Wilson (ISMM 1998) and tcmalloc's of its fleet (Zhou et al., ASPLOS 2024). At the end of each phase
 * resident memory is compared with the bytes that are live; program and tables are not counted.
 */
#include "bench.h"

enum { PHASES = 8, WHEEL_SLOTS = 1 << 17, LIFETIMES = 4096, SPREAD = 4 };

static const uint64_t centres[PHASES] = {256, 2048, 64, 16384, 512, 8192, 128, 1024};

struct item {
	struct item *next; /* of those that end with the same request */
	uint32_t bytes;    /* the block's last byte repeats it */
};

static struct item **wheel;          /* [request % WHEEL_SLOTS]: what ends with it */
static uint32_t lifetimes[LIFETIMES]; /* in requests, equally likely; each below WHEEL_SLOTS */
static uint64_t live_bytes, seed = 1;

/* For 0 < x <= 1, by the series of artanh after doubling x into 1/2 .. 1; no libm. */
static double logarithm(double x)
{
	double doublings = 0, sum = 0;
	for (; x < 0.5; x *= 2)
		doublings++;
	double y = (x - 1) / (x + 1), power = y;
	for (int n = 1; n < 40; n += 2, power *= y * y)
		sum += power / n;
	return 2 * sum - doublings * 0.69314718055994531;
}

/* The distribution's quantiles. Pareto's mean is about least * (1 + ln(most / least)) when it is capped at most. */
static void lifetimes_fill(uint64_t tail, double mean)
{
	double most = WHEEL_SLOTS - 1, least = mean;
	for (int i = 0; i < 100; i++)
		least = mean / (1 - logarithm(least / most));
	for (int i = 0; i < LIFETIMES; i++) {
		double share = (i + 0.5) / LIFETIMES, lifetime = tail ? least / share : -mean * logarithm(share);
		lifetimes[i] = (uint32_t)(lifetime > most ? most : lifetime);
	}
}

static void item_new(uint64_t bytes, uint64_t request)
{
	struct item *item = need(malloc(bytes));
	for (uint64_t at = PAGE_BYTES; at < bytes; at += PAGE_BYTES)
		((char *)item)[at] = (char)bytes;
	((char *)item)[bytes - 1] = (char)bytes;
	struct item **slot = &wheel[(request + lifetimes[random_below(&seed, LIFETIMES)]) % WHEEL_SLOTS];
	item->bytes = (uint32_t)bytes;
	item->next = *slot;
	*slot = item;
	live_bytes += bytes;
}

static void items_end(uint64_t request)
{
	struct item **slot = &wheel[request % WHEEL_SLOTS];
	while (*slot) {
		struct item *item = *slot;
		if (((char *)item)[item->bytes - 1] != (char)item->bytes)
			fail("a block of %u bytes lost its content", (unsigned)item->bytes);
		live_bytes -= item->bytes;
		*slot = item->next;
		free(item);
	}
}

int main(int argc, char **argv)
{
	uint64_t tail = 0, requests = 72000, request_kib = 16, mean = 7500;
	const struct argument rows[] = {
	    {"tail", &tail, 0, 1, "lifetimes: 0 exponential, 1 long-tailed"},
	    {"requests", &requests, PHASES, UINT64_MAX, "requests in all"},
	    {"request-kib", &request_kib, 1, 1000000, "KiB that a request allocates, about"},
	    {"mean", &mean, 1, WHEEL_SLOTS / 4, "mean lifetime in requests"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	wheel = table_new(WHEEL_SLOTS, sizeof *wheel);
	for (uint64_t i = 0; i < WHEEL_SLOTS; i++) /* resident before the count begins */
		wheel[i] = NULL;
	lifetimes_fill(tail, (double)mean);
	uint64_t before_kib = resident_kib(), phase_requests = requests / PHASES, request = 0;
	int64_t budget = 0; /* what a request overdraws, the next ones save */
	double ratios[PHASES], worst = 0, live_mib = 0;

	uint64_t start = now_ns();
	for (int phase = 0; phase < PHASES; phase++) {
		for (uint64_t end = request + phase_requests; request < end; request++) {
			for (budget += (int64_t)request_kib * 1024; budget > 0;) {
				uint64_t bytes = random_spread(&seed, centres[phase] / SPREAD, centres[phase] * SPREAD);
				item_new(bytes, request);
				budget -= (int64_t)bytes;
			}
			items_end(request);
		}
		ratios[phase] = (double)(resident_kib() - before_kib) * 1024 / (double)live_bytes;
		worst = ratios[phase] > worst ? ratios[phase] : worst;
		live_mib = (double)live_bytes / (1 << 20);
	}
	uint64_t elapsed = now_ns() - start;
	for (uint64_t i = 0; i < WHEEL_SLOTS; i++)
		items_end(i);
	if (live_bytes)
		fail("%llu bytes are left", (unsigned long long)live_bytes);

	result("request", (double)elapsed / (double)request, "ns");
	for (int phase = 0; phase < PHASES; phase++) {
		char key[32];
		snprintf(key, sizeof key, "rss_over_live_%d", phase + 1);
		result(key, ratios[phase], "count");
	}
	result("rss_over_live", worst, "count");
	result("live", live_mib, "MiB");
	return 0;
}

/* Times counted in buckets, some to each doubling: 1 << HISTOGRAM_STEPS_LOG2, which is defined before this is included.
 * Of whatever unit. */
#ifndef QUARRY_BENCH_HISTOGRAM_H
#define QUARRY_BENCH_HISTOGRAM_H

#include "bench.h"

enum { BUCKET_STEPS = 1 << HISTOGRAM_STEPS_LOG2, BUCKETS = 64 * BUCKET_STEPS };

struct buckets {
	uint64_t counts[BUCKETS];
	uint64_t total;
};

static inline unsigned bucket_of(uint64_t time)
{
	if (time < BUCKET_STEPS)
		return (unsigned)time;
	unsigned doublings = 63 - (unsigned)__builtin_clzll(time);
	return (doublings - HISTOGRAM_STEPS_LOG2) * BUCKET_STEPS + (unsigned)(time >> (doublings - HISTOGRAM_STEPS_LOG2));
}

/* The least time of a bucket. */
static inline uint64_t bucket_least(unsigned bucket)
{
	return bucket < 2 * BUCKET_STEPS ? bucket
	                                 : (uint64_t)(BUCKET_STEPS + bucket % BUCKET_STEPS) << (bucket / BUCKET_STEPS - 1);
}

static inline void buckets_add(struct buckets *buckets, uint64_t time)
{
	buckets->counts[bucket_of(time)]++;
	buckets->total++;
}

/* The least time of the bucket in which the share, counted from the shortest, ends. */
static inline uint64_t buckets_percentile(const struct buckets *buckets, double share)
{
	uint64_t seen = 0;
	unsigned bucket = 0;
	while (bucket < BUCKETS - 1 && (double)(seen += buckets->counts[bucket]) < share * (double)buckets->total)
		bucket++;
	return bucket_least(bucket);
}

#endif

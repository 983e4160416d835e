/* Threads of a benchmark program: so many of them, numbered, started together and waited for. */
#ifndef QUARRY_BENCH_CREW_H
#define QUARRY_BENCH_CREW_H

#include "bench.h"
#include <pthread.h>

/* Runs run(0) .. run(count - 1), each in a thread of its own that gets its number as a pointer. */
static inline void crew_run(uint64_t count, void *(*run)(void *))
{
	pthread_t *threads = table_new(count, sizeof *threads);
	for (uintptr_t i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i))
			fail("cannot create thread %llu", (unsigned long long)i);
	for (uint64_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

#endif

/* Producers make blocks for one consumer and end before these are freed: the memory of heaps whose owners are gone, and
 * of those that sleep, comes back, and stays in proportion to what is live. Then all mixes of the two: many to one, one
 * to many, rings, with threads that end and children that go on with what they find. */
#include "stress/stress.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRODUCER_COUNT 4
#define QUEUE_SIZE 4096
#define LIFE_BLOCKS 20000

static _Atomic(struct parcel *) queues[PRODUCER_COUNT][QUEUE_SIZE];
static _Atomic size_t heads[PRODUCER_COUNT];
static size_t tails[PRODUCER_COUNT];
static _Atomic size_t ended;

static void *produce(void *argument)
{
	size_t index = (uintptr_t)argument % PRODUCER_COUNT;
	uint64_t random = (uintptr_t)argument + 1;

	for (size_t i = 0; i < LIFE_BLOCKS; i++) {
		_Atomic(struct parcel *) *place = &queues[index][atomic_load(&heads[index]) % QUEUE_SIZE];
		while (atomic_load(place) != NULL)
			sched_yield();
		atomic_store(place, parcel_make(&random));
		atomic_fetch_add(&heads[index], 1);
	}
	atomic_fetch_add(&ended, 1);
	return NULL;
}

/* Frees what has come; true if there was something. */
static bool consume(size_t index)
{
	struct parcel *parcel = atomic_exchange(&queues[index][tails[index] % QUEUE_SIZE], NULL);

	if (parcel == NULL)
		return false;
	tails[index]++;
	parcel_drop(parcel);
	return true;
}

static size_t run_generations(uint64_t end)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t generations = 0;

	do {
		pthread_t producers[PRODUCER_COUNT];
		atomic_store(&ended, 0);
		for (size_t i = 0; i < PRODUCER_COUNT; i++)
			MUST(pthread_create(&producers[i], NULL, produce,
			                    (void *)(uintptr_t)(generations * PRODUCER_COUNT + i)) == 0);
		for (bool busy = true; busy || atomic_load(&ended) < PRODUCER_COUNT;) {
			busy = false;
			/* The last quarter is freed when its owners are gone. */
			for (size_t i = 0; i < PRODUCER_COUNT; i++)
				if (atomic_load(&ended) == PRODUCER_COUNT || atomic_load(&heads[i]) - tails[i] > QUEUE_SIZE * 3 / 4)
					busy |= consume(i);
		}
		for (size_t i = 0; i < PRODUCER_COUNT; i++) {
			pthread_join(producers[i], NULL);
			while (consume(i))
				;
		}
		MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
		MUST(stats.heap_count <= PRODUCER_COUNT + 2);
		generations++;
	} while (now_ms() < end);
	/* Nothing is live: what slabs there are is what the last frees have not yet told of, and what is cached. */
	MUST(stats.slab_bytes < 64 << 20);
	quarry_trim(0);
	MUST(quarry_stats(&stats) == 0 && stats.slab_count == 0);
	return generations;
}

/* ---- Mixes ---- */

#define MIX_THREADS 9
#define INBOX_SIZE 1024
#define CHILD_BLOCKS 3000

/* Full of one pattern, by its address and size: who gets a block twice finds the other's. */
struct crate {
	size_t size;
	uint64_t rest[];
};

static _Atomic(struct crate *) inboxes[MIX_THREADS][INBOX_SIZE];
static _Atomic bool stop;

/* Thread i gives to [first, first + count) of the inboxes, and empties its own. */
struct role {
	size_t index;
	size_t first, count;
	bool consumes;
	bool ends_early;
};

/* A few sizes: what one frees another takes again. */
static struct crate *crate_make(uint64_t *random)
{
	static const size_t sizes[] = { 64, 1024, 1024, 1024, 4096 };
	size_t size = sizes[draw(random, 5)];
	struct crate *crate = quarry_malloc(size);

	MUST(crate != NULL);
	crate->size = size;
	for (size_t i = 0; i < size / 8 - 1; i++)
		crate->rest[i] = (uintptr_t)crate ^ size;
	return crate;
}

static void crate_drop(struct crate *crate)
{
	if (crate == NULL)
		return;
	size_t size = crate->size;
	MUST(size == 64 || size == 1024 || size == 4096);
	for (size_t i = 0; i < size / 8 - 1; i++) {
		MUST(crate->rest[i] == ((uintptr_t)crate ^ size));
		crate->rest[i] = 0;
	}
	crate->size = 0;
	quarry_free(crate);
}

static void *play(void *argument)
{
	const struct role *role = argument;
	uint64_t random = role->index * 7919 + 3;
	size_t place = 0;

	for (size_t i = 0; !atomic_load(&stop) && !(role->ends_early && i == 20); i++) {
		for (size_t made = 0; role->count > 0 && made < INBOX_SIZE / 2; made++) {
			_Atomic(struct crate *) *inbox = inboxes[role->first + draw(&random, role->count)];
			struct crate *nothing = NULL;
			struct crate *crate = crate_make(&random);
			place = (place + 1) % INBOX_SIZE;
			if (!atomic_compare_exchange_strong(&inbox[place], &nothing, crate)) {
				crate_drop(crate);
				break;
			}
		}
		for (size_t at = 0; role->consumes && at < INBOX_SIZE; at++)
			crate_drop(atomic_exchange(&inboxes[role->index][at], NULL));
		sched_yield();
	}
	return NULL;
}

/* What it finds is whole, half of it is freed, and what it is given is nobody else's. */
static void live_as_child(void)
{
	static struct crate *mine[CHILD_BLOCKS];
	uint64_t random = 77;

	for (size_t i = 0; i < MIX_THREADS * INBOX_SIZE; i += 2)
		crate_drop(atomic_exchange(&inboxes[i / INBOX_SIZE][i % INBOX_SIZE], NULL));
	for (size_t i = 0; i < CHILD_BLOCKS; i++)
		mine[i] = crate_make(&random);
	for (size_t i = 1; i < MIX_THREADS * INBOX_SIZE; i += 2)
		crate_drop(atomic_exchange(&inboxes[i / INBOX_SIZE][i % INBOX_SIZE], NULL));
	for (size_t i = 0; i < CHILD_BLOCKS; i++)
		crate_drop(mine[i]);
	_exit(0);
}

static void run_mix(size_t mix, uint64_t end)
{
	struct role roles[MIX_THREADS];
	pthread_t threads[MIX_THREADS];
	int status;

	for (size_t i = 0; i < MIX_THREADS; i++) {
		roles[i] = (struct role){ .index = i, .ends_early = i % 3 == 1 };
		switch (mix % 4) {
		case 0: /* many to one */
			roles[i].consumes = i == 0;
			roles[i].first = 0;
			roles[i].count = i != 0;
			break;
		case 1: /* one to many */
			roles[i].consumes = i != 0;
			roles[i].first = 1;
			roles[i].count = i == 0 ? MIX_THREADS - 1 : 0;
			break;
		case 2: /* a ring */
			roles[i].consumes = true;
			roles[i].first = (i + 1) % MIX_THREADS;
			roles[i].count = 1;
			break;
		default: /* all to all */
			roles[i].consumes = true;
			roles[i].count = MIX_THREADS;
		}
	}
	atomic_store(&stop, false);
	for (size_t i = 0; i < MIX_THREADS; i++)
		MUST(pthread_create(&threads[i], NULL, play, &roles[i]) == 0);
	do {
		pid_t child = fork();
		MUST(child >= 0);
		if (child == 0)
			live_as_child();
		MUST(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
		/* Those that end soon, and others in their place. */
		for (size_t i = 1; i < MIX_THREADS; i += 3) {
			pthread_join(threads[i], NULL);
			MUST(pthread_create(&threads[i], NULL, play, &roles[i]) == 0);
		}
	} while (now_ms() < end);
	atomic_store(&stop, true);
	for (size_t i = 0; i < MIX_THREADS; i++)
		pthread_join(threads[i], NULL);
}

static void run_mixes(uint64_t end)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	uint64_t begin = now_ms();

	/* What one mix leaves lies in the inboxes for the next. */
	for (size_t mix = 0; mix < 4; mix++)
		run_mix(mix, begin + (end > begin ? end - begin : 0) * (mix + 1) / 4);
	for (size_t i = 0; i < MIX_THREADS * INBOX_SIZE; i++)
		crate_drop(inboxes[i / INBOX_SIZE][i % INBOX_SIZE]);
	MUST(quarry_stats(&stats) == 0 && stats.live_blocks == 0);
	MUST(stats.heap_count <= MIX_THREADS + 2);
	quarry_trim(0);
	MUST(quarry_stats(&stats) == 0 && stats.slab_count == 0);
}

int main(int argc, char **argv)
{
	uint64_t begin = now_ms();
	uint64_t duration = duration_ms(argc, argv);

	alarm(300);
	size_t generations = run_generations(begin + duration / 2);
	run_mixes(begin + duration);
	printf("%zu generations\n", generations);
	return 0;
}

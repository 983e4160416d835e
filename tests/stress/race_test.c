/* Giving back races with everything: threads that allocate, free each other's blocks, grow them by realloc, start and end;
 * sweeps, purge steps, the scavenger, trims and forks, with the kernel refusing now and then in debug builds. Every live
 * block holds a pattern of its own, looked at when it is freed, when it is resized and in between, in children too;
 * what calloc returns is zero. The first argument says how long, in milliseconds. */
#include "model/support.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "block/sweep.h"
#include "os/fault.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/purge.h"
#include "space/span.h"
#include "thread/scavenger.h"

#define DECAY_MS 20
#define CHURNERS 3
#define LIVES 2
#define OWN_BLOCKS 400
#define SHELF_BLOCKS 512
#define BYTES_MAX (2 * MIB)

/* At the start of each block; the rest is a pattern that follows from the key. */
struct label {
	struct label *self;
	size_t bytes;
	uint64_t key;
};

static _Atomic(struct label *) shelf[SHELF_BLOCKS];
static _Atomic bool stop;
static _Atomic uint64_t steps, lives, trims;
static uint64_t duration = 2000;
static size_t children;

/* ---- Blocks ---- */

static unsigned char pattern(const struct label *label, size_t at)
{
	return (unsigned char)(label->key + at * 13 + (at >> 9));
}

/* Small blocks whole, of large ones their edges and some bytes of each page. */
static size_t next_place(size_t at, size_t bytes)
{
	return bytes <= 8192 || at < 512 || at + 256 >= bytes ? at + 1 : min_size(at + 509, bytes - 256);
}

static void check(const struct label *label, const struct label *self, size_t bytes)
{
	const unsigned char *block = (const unsigned char *)label;

	MUST(label->self == self);
	for (size_t at = sizeof(*label); at < bytes; at = next_place(at, label->bytes))
		MUST(block[at] == pattern(label, at));
}

static void sign(struct label *label, size_t bytes, uint64_t key)
{
	unsigned char *block = (unsigned char *)label;

	*label = (struct label){ label, bytes, key };
	for (size_t at = sizeof(*label); at < bytes; at = next_place(at, bytes))
		block[at] = pattern(label, at);
}

static void check_zero(const unsigned char *block, size_t bytes)
{
	for (size_t at = 0; at < bytes; at = next_place(at, bytes))
		MUST(block[at] == 0);
}

static size_t draw_size(struct random *random)
{
	static const size_t most[] = { 64, 64, 256, 600, 1100, 1100, 4000, 9000, 33000, 33000, 200000, BYTES_MAX };
	size_t bytes = most[random_below(random, random_below(random, 8) == 0 ? 12 : 9)];

	return sizeof(struct label) + random_below(random, bytes);
}

static struct label *make(struct random *random)
{
	size_t bytes = draw_size(random);
	bool zeroed = random_below(random, 2) == 0;
	struct label *label = zeroed ? quarry_calloc(1, bytes) : quarry_malloc(bytes);

	MUST(label != NULL);
	if (zeroed)
		check_zero((unsigned char *)label, bytes);
	sign(label, bytes, random_next(random));
	return label;
}

static void drop(struct label *label)
{
	if (label == NULL)
		return;
	check(label, label, label->bytes);
	label->self = NULL;
	quarry_free(label);
}

static struct label *resize(struct random *random, struct label *label)
{
	size_t bytes = random_below(random, 3) == 0 ? draw_size(random) : label->bytes + label->bytes / 2;

	if (bytes > BYTES_MAX)
		bytes = 1000;
	size_t kept = min_size(bytes, label->bytes);
	struct label *resized = quarry_realloc(label, bytes);
	MUST(resized != NULL);
	check(resized, label, kept);
	sign(resized, bytes, random_next(random));
	return resized;
}

/* ---- Threads ---- */

static void step(struct random *random, struct label **own, size_t count)
{
	/* In waves over the table: whole pages become free. */
	size_t at = (atomic_load_explicit(&steps, memory_order_relaxed) / 1000 * 37 + random_below(random, count / 3)) % count;
	size_t place = random_below(random, SHELF_BLOCKS);

	switch (random_below(random, 8)) {
	case 0: /* others free it, or go on with it */
		own[at] = atomic_exchange(&shelf[place], own[at]);
		break;
	case 1:
		drop(atomic_exchange(&shelf[place], NULL));
		break;
	case 2:
		if (own[at] != NULL)
			own[at] = resize(random, own[at]);
		break;
	case 3:
		if (own[at] != NULL)
			check(own[at], own[at], own[at]->bytes);
		break;
	default:
		if (own[at] == NULL) {
			own[at] = make(random);
		} else {
			drop(own[at]);
			own[at] = NULL;
		}
	}
	atomic_fetch_add_explicit(&steps, 1, memory_order_relaxed);
}

static void *churn(void *seed)
{
	struct random random = { .state = (uintptr_t)seed * 7919 + 1 };
	struct label *own[OWN_BLOCKS] = { NULL };

	while (!atomic_load(&stop)) {
		step(&random, own, OWN_BLOCKS);
		/* All at once: the slabs' memory falls free while others sweep it. */
		for (size_t i = 0; random_below(&random, 5000) == 0 && i < OWN_BLOCKS; i++) {
			drop(own[i]);
			own[i] = NULL;
		}
	}
	for (size_t i = 0; i < OWN_BLOCKS; i++)
		drop(own[i]);
	return NULL;
}

/* A life of some hundred calls: in the shared heap, or long enough for one of its own. */
static void *live(void *seed)
{
	struct random random = { .state = (uintptr_t)seed * 104729 + 1 };
	struct label *own[30] = { NULL };

	for (size_t i = 0, count = random_below(&random, 1500); i < count; i++)
		step(&random, own, 30);
	for (size_t i = 0; i < 30; i++)
		drop(own[i]);
	atomic_fetch_add(&lives, 1);
	return NULL;
}

static void give_back(struct random *random)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	switch (random_below(random, 7)) {
	case 0:
		quarry_trim(random_below(random, 2) * MIB);
		atomic_fetch_add(&trims, 1);
		break;
	case 1: case 2:
		sweep_all((enum slab_sweep)random_below(random, 3), random_below(random, 2) == 0);
		break;
	case 3:
		purge_set_retain(random_below(random, 5) * MIB);
		break;
	case 4:
		MUST(quarry_stats_measured(&stats) == 0 && (stats.resident_measured == 1 || emulator() != NULL));
		break;
	default:
		for (int i = 0; i < 100; i++)
			sweep_tick();
	}
}

static void refuse_some(struct random *random UNUSED)
{
#ifdef QUARRY_DEBUG
	static const uint32_t chances[] = { 0, 20000, 300000, OS_FAULT_ALWAYS };
	static const int errors[] = { EINVAL, ENOMEM, EAGAIN };

	os_fault_set(OS_CALL_PURGE, (struct os_fault){ .per_million = chances[random_below(random, 4)],
	                                               .error = errors[random_below(random, 3)] });
#endif
}

static uint64_t refused_count(void)
{
#ifdef QUARRY_DEBUG
	return os_fault_failed(OS_CALL_PURGE);
#else
	return 0;
#endif
}

/* On a machine that has little time for us, everything happens once. */
static bool has_seen_all(void)
{
#ifdef QUARRY_DEBUG
	if (refused_count() == 0)
		return false;
#endif
	return children >= 3 && sweep_figures().refaulted_bytes > 0 && atomic_load(&trims) > 0;
}

static void *give_back_all_the_time(void *argument UNUSED)
{
	struct random random = { .state = 4711 };

	while (!atomic_load(&stop)) {
		give_back(&random);
		if (random_below(&random, 50) == 0)
			refuse_some(&random);
		/* Time for something to give back. */
		if (random_below(&random, 4) == 0)
			os_pause();
		sched_yield();
	}
	return NULL;
}

/* A child finds everything whole, goes on with it, and gives back. */
static void live_as_child(void *seed)
{
	struct random random = { .state = *(size_t *)seed * 2654435761u + 1 };
	struct label *own[60] = { NULL };

	alarm(60 * slowdown());
	for (size_t i = 0; i < SHELF_BLOCKS; i += 1 + random_below(&random, 2)) {
		struct label *label = atomic_load(&shelf[i]);
		if (label == NULL)
			continue;
		check(label, label, label->bytes);
		if (random_below(&random, 2) == 0)
			drop(atomic_exchange(&shelf[i], NULL));
	}
	for (size_t i = 0; i < 2000; i++) {
		step(&random, own, 60);
		if (random_below(&random, 200) == 0)
			give_back(&random);
	}
	for (size_t i = 0; i < SHELF_BLOCKS; i++)
		drop(atomic_exchange(&shelf[i], NULL));
}

static void test_races(void **state UNUSED)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	struct random random = random_start(31);
	pthread_t churners[CHURNERS], short_lived[LIVES], giver;
	uint64_t end = os_now_ms() + duration;
	uintptr_t seed = 1;
	int status = 0;

	quarry_free(quarry_malloc(1));
	purge_configure(2 * MIB, 0, UINT64_MAX, DECAY_MS);
	sweep_configure(DECAY_MS);
	scavenger_configure(true, DECAY_MS, true);
	for (size_t i = 0; i < CHURNERS; i++)
		assert_int_equal(pthread_create(&churners[i], NULL, churn, (void *)seed++), 0);
	for (size_t i = 0; i < LIVES; i++)
		assert_int_equal(pthread_create(&short_lived[i], NULL, live, (void *)seed++), 0);
	assert_int_equal(pthread_create(&giver, NULL, give_back_all_the_time, NULL), 0);
	while ((os_now_ms() < end || !has_seen_all()) && status == 0) {
		for (size_t i = 0; i < LIVES; i++) {
			pthread_join(short_lived[i], NULL);
			assert_int_equal(pthread_create(&short_lived[i], NULL, live, (void *)seed++), 0);
		}
		if (random_below(&random, 8) == 0)
			status = child_run(live_as_child, &(size_t){ children++ }, NULL, 0);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < CHURNERS; i++)
		pthread_join(churners[i], NULL);
	for (size_t i = 0; i < LIVES; i++)
		pthread_join(short_lived[i], NULL);
	pthread_join(giver, NULL);
	ASSERT_EXITED(status);
	for (size_t i = 0; i < SHELF_BLOCKS; i++)
		drop(atomic_exchange(&shelf[i], NULL));

	/* Nothing is lost, and when nobody refuses any more all goes back. */
	uint64_t refused = refused_count();
#ifdef QUARRY_DEBUG
	os_fault_reset(1);
#endif
	/* A slab that the scavenger sweeps right now is passed by, and may be released after all others went back. */
	for (int tries = 0; tries < 1000 && (tries == 0 || stats.slab_count > 0 || stats.dirty_bytes > 0); tries++) {
		quarry_trim(0);
		assert_int_equal(quarry_stats(&stats), 0);
		os_pause();
	}
	assert_int_equal(stats.live_blocks, 0);
	assert_int_equal(stats.slab_count, 0);
	assert_int_equal(stats.large_span_bytes, 0);
	assert_int_equal(stats.dirty_bytes, 0);
	print_message("# %ju steps, %ju lives, %zu children, %ju trims, %ju sweeps, %ju purges, %ju refused\n",
	              (uintmax_t)steps, (uintmax_t)lives, children, (uintmax_t)trims, (uintmax_t)stats.sweep_count,
	              (uintmax_t)stats.purge_count, (uintmax_t)refused);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_races) };

	if (argc > 1)
		duration = strtoull(argv[1], NULL, 10);
	alarm((unsigned)(duration / 1000 + 120 * slowdown()));
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Everything at once, in a program that libquarry.so is preloaded into: threads that are born and die, blocks that pass
 * between them, forks, bursts, trims and purges, figures and walks read by another thread. Prints what it did, and fails
 * on any error, on growth beyond what is live, and on what is left at the end. The first argument says how long, in
 * milliseconds. */
#include "stress/stress.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define STEADY_COUNT 6
#define SHORT_COUNT 4
#define SHELF_SIZE 2048
#define OWN_SIZE 256
/* A burst's blocks: some 20 MiB, in a list. */
#define BURST_BLOCKS 40000
/* Threads, magazines, tables, what fragments: everything that is neither live nor free by the figures. */
#define REST_BYTES (48 * MIB)

/* Resolved from the preloaded library: libc has none of these. */
static struct {
	int (*stats)(struct quarry_stats *);
	int (*stats_measured)(struct quarry_stats *);
	size_t (*stats_json)(char *, size_t);
	int (*walk)(int (*)(void *, size_t, void *), void *);
	size_t (*trim)(size_t);
	size_t (*purge)(unsigned);
} ours;

/* A block that knows its size and its place; the rest follows from the key at both ends. */
struct label {
	struct label *self;
	size_t bytes;
	uint64_t key;
};

static _Atomic(struct label *) shelf[SHELF_SIZE];
static _Atomic bool stop;
static _Atomic uint64_t operations, threads_born, forks, bursts, trims, purges, figures, walks;
static _Atomic uint64_t peak_live, peak_resident;

/* ---- Blocks ---- */

static void sign(struct label *label, size_t bytes, uint64_t key)
{
	*label = (struct label){ label, bytes, key };
	memset(label + 1, (int)key, bytes - sizeof(*label) < 64 ? bytes - sizeof(*label) : 64);
	((unsigned char *)label)[bytes - 1] = (unsigned char)key;
}

/* self: where it was signed; its first bytes may have moved since. */
static void check(const struct label *label, uintptr_t self, size_t bytes)
{
	const unsigned char *byte = (const unsigned char *)(label + 1);

	MUST((uintptr_t)label->self == self);
	for (size_t i = 0; i < 64 && sizeof(*label) + i < bytes; i++)
		MUST(byte[i] == (unsigned char)label->key);
	if (bytes == label->bytes)
		MUST(((const unsigned char *)label)[bytes - 1] == (unsigned char)label->key);
}

static size_t draw_bytes(uint64_t *random)
{
	static const size_t most[] = { 32, 64, 100, 300, 300, 1000, 1000, 5000, 5000, 40000, 40000, 300000, 3000000 };

	return sizeof(struct label) + 1 + draw(random, most[draw(random, draw(random, 20) == 0 ? 13 : 11)]);
}

static struct label *make(uint64_t *random)
{
	size_t bytes = draw_bytes(random), alignment = (size_t)64 << draw(random, 8);
	struct label *label = NULL;

	switch (draw(random, 8)) {
	case 0:
		MUST(posix_memalign((void **)&label, alignment, bytes) == 0 && (uintptr_t)label % alignment == 0);
		break;
	case 1: case 2:
		MUST((label = calloc(1, bytes)) != NULL);
		for (size_t at = 0; at < bytes; at += bytes < 500 ? 1 : 499)
			MUST(((unsigned char *)label)[at] == 0);
		break;
	default:
		MUST((label = malloc(bytes)) != NULL);
	}
	MUST(malloc_usable_size(label) >= bytes);
	sign(label, bytes, *random);
	return label;
}

static void drop(struct label *label)
{
	if (label == NULL)
		return;
	check(label, (uintptr_t)label, label->bytes);
	label->self = NULL;
	free(label);
}

static struct label *resize(uint64_t *random, struct label *label)
{
	size_t bytes = draw_bytes(random), kept = bytes < label->bytes ? bytes : label->bytes;
	uintptr_t self = (uintptr_t)label;
	struct label *resized = realloc(label, bytes);

	MUST(resized != NULL);
	check(resized, self, kept);
	sign(resized, bytes, *random);
	return resized;
}

static void step(uint64_t *random, struct label **own, size_t count)
{
	size_t at = draw(random, count);

	switch (draw(random, 8)) {
	case 0:
		own[at] = atomic_exchange(&shelf[draw(random, SHELF_SIZE)], own[at]);
		break;
	case 1:
		drop(atomic_exchange(&shelf[draw(random, SHELF_SIZE)], NULL));
		break;
	case 2:
		if (own[at] != NULL)
			own[at] = resize(random, own[at]);
		break;
	default:
		if (own[at] == NULL) {
			own[at] = make(random);
		} else {
			drop(own[at]);
			own[at] = NULL;
		}
	}
}

static void steps(uint64_t *random, struct label **own, size_t count, size_t times)
{
	for (size_t i = 0; i < times; i++)
		step(random, own, count);
	atomic_fetch_add_explicit(&operations, times, memory_order_relaxed);
}

static void drop_all(struct label **own, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		drop(own[i]);
		own[i] = NULL;
	}
}

/* ---- Figures ---- */

static void note(_Atomic uint64_t *peak, uint64_t value)
{
	uint64_t before = atomic_load(peak);

	while (before < value && !atomic_compare_exchange_weak(peak, &before, value))
		;
}

static uint64_t live_bytes(void)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	MUST(ours.stats(&stats) == 0);
	note(&peak_live, stats.live_bytes);
	return stats.live_bytes;
}

static size_t resident_bytes(void)
{
	char text[128] = "";
	int statm = open("/proc/self/statm", O_RDONLY);
	size_t total = 0, resident = 0;

	if (statm >= 0) {
		MUST(read(statm, text, sizeof(text) - 1) > 0 && sscanf(text, "%zu %zu", &total, &resident) == 2);
		close(statm);
	}
	resident *= (size_t)sysconf(_SC_PAGESIZE);
	note(&peak_resident, resident);
	return resident;
}

/* ---- Threads ---- */

static void burst(uint64_t *random)
{
	struct label *list = NULL;

	for (size_t i = 0; i < BURST_BLOCKS; i++) {
		size_t bytes = sizeof(struct label) + sizeof(list) + draw(random, 1000);
		struct label *label = malloc(bytes);
		MUST(label != NULL);
		*label = (struct label){ list, bytes, i };
		list = label;
	}
	live_bytes();
	while (list != NULL) {
		struct label *next = list->self;
		free(list);
		list = next;
	}
	atomic_fetch_add_explicit(&operations, BURST_BLOCKS, memory_order_relaxed);
	atomic_fetch_add(&bursts, 1);
}

static void *live_long(void *seed)
{
	uint64_t random = (uintptr_t)seed * 7919 + 1;
	struct label *own[OWN_SIZE] = { NULL };

	while (!atomic_load(&stop)) {
		steps(&random, own, OWN_SIZE, 1000);
		if (draw(&random, 100) == 0)
			drop_all(own, OWN_SIZE);
		if (draw(&random, 400) == 0)
			burst(&random);
		if (draw(&random, 10) == 0)
			usleep((useconds_t)draw(&random, 3000));
	}
	drop_all(own, OWN_SIZE);
	return NULL;
}

static void *live_shortly(void *seed)
{
	uint64_t random = (uintptr_t)seed * 104729 + 1;
	struct label *own[32] = { NULL };

	steps(&random, own, 32, draw(&random, 2000));
	if (draw(&random, 2) == 0)
		drop_all(own, 32);
	for (size_t i = 0; i < 32; i++)
		drop(atomic_exchange(&shelf[draw(&random, SHELF_SIZE)], own[i]));
	return NULL;
}

static void live_as_child(uint64_t seed)
{
	uint64_t random = seed * 2654435761u + 1;
	struct label *own[OWN_SIZE] = { NULL };
	pthread_t thread;

	alarm(300);
	for (size_t i = draw(&random, 4); i < SHELF_SIZE; i += 4)
		drop(atomic_exchange(&shelf[i], NULL));
	MUST(pthread_create(&thread, NULL, live_shortly, (void *)(uintptr_t)seed) == 0);
	steps(&random, own, OWN_SIZE, 3000);
	pthread_join(thread, NULL);
	if (draw(&random, 4) == 0)
		ours.trim(0);
	drop_all(own, OWN_SIZE);
	_exit(0);
}

static void *fork_now_and_then(void *argument)
{
	uint64_t random = 99;
	int status;

	while (!atomic_load(&stop)) {
		pid_t child = fork();
		MUST(child >= 0);
		if (child == 0)
			live_as_child(atomic_load(&forks));
		MUST(waitpid(child, &status, 0) == child && status == 0);
		atomic_fetch_add(&forks, 1);
		usleep((useconds_t)draw(&random, 20000));
	}
	return argument;
}

/* ---- Looking ---- */

static int visit(void *block, size_t bytes, void *sum)
{
	MUST(block != NULL && bytes > 0);
	*(size_t *)sum += bytes;
	return 0;
}

static void look(uint64_t *random)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t sum = 0;

	resident_bytes();
	switch (draw(random, 8)) {
	case 0:
		MUST(ours.walk(visit, &sum) == 0);
		atomic_fetch_add(&walks, 1);
		break;
	case 1: {
		char json[8192];
		size_t length = ours.stats_json(json, sizeof(json));
		MUST(length > 2 && length < sizeof(json) && json[0] == '{');
		break;
	}
	case 2:
		MUST(ours.stats_measured(&stats) == 0 && stats.resident_bytes <= stats.reserved_bytes);
		break;
	default:
		live_bytes();
	}
	atomic_fetch_add(&figures, 1);
}

static void *look_all_the_time(void *argument)
{
	uint64_t random = 4711;

	while (!atomic_load(&stop)) {
		look(&random);
		if (draw(&random, 30) == 0) {
			ours.trim(draw(&random, 2) * MIB);
			atomic_fetch_add(&trims, 1);
		} else if (draw(&random, 10) == 0) {
			ours.purge(1 + (unsigned)draw(&random, QUARRY_PURGE_ALL));
			atomic_fetch_add(&purges, 1);
		}
		usleep((useconds_t)draw(&random, 5000));
	}
	return argument;
}

/* ---- */

static void resolve(void)
{
	*(void **)&ours.stats = dlsym(RTLD_DEFAULT, "quarry_stats");
	*(void **)&ours.stats_measured = dlsym(RTLD_DEFAULT, "quarry_stats_measured");
	*(void **)&ours.stats_json = dlsym(RTLD_DEFAULT, "quarry_stats_json");
	*(void **)&ours.walk = dlsym(RTLD_DEFAULT, "quarry_walk");
	*(void **)&ours.trim = dlsym(RTLD_DEFAULT, "quarry_trim");
	*(void **)&ours.purge = dlsym(RTLD_DEFAULT, "quarry_purge");
	if (ours.stats == NULL || ours.stats_measured == NULL || ours.stats_json == NULL || ours.walk == NULL ||
	    ours.trim == NULL || ours.purge == NULL) {
		fprintf(stderr, "# libquarry.so is not preloaded\n");
		exit(2);
	}
}

/* All threads but the first are gone, and all blocks that they made. */
static void end(uint64_t live_before)
{
	uint64_t live = live_bytes();
	size_t resident = resident_bytes();

	ours.trim(0);
	size_t trimmed = resident_bytes();
	printf("%ju operations, %ju threads, %ju forks, %ju bursts, %ju trims, %ju purges, %ju looks, %ju walks\n"
	       "live: %.1f MiB at most, %.1f at the end; resident: %.1f MiB at most, %.1f at the end, %.1f after a trim\n",
	       (uintmax_t)operations, (uintmax_t)threads_born, (uintmax_t)forks, (uintmax_t)bursts, (uintmax_t)trims,
	       (uintmax_t)purges, (uintmax_t)figures, (uintmax_t)walks, (double)peak_live / MIB, (double)live / MIB,
	       (double)peak_resident / MIB, (double)resident / MIB, (double)trimmed / MIB);
	/* libc keeps stacks' tables of threads that ended. */
	MUST(live <= live_before + MIB / 4);
	MUST(peak_resident <= 2 * peak_live + REST_BYTES);
	MUST(trimmed <= live + REST_BYTES / 2);
	MUST(operations > 0 && forks > 0 && threads_born > 0 && trims > 0 && walks > 0);
}

int main(int argc, char **argv)
{
	uint64_t until = now_ms() + duration_ms(argc, argv), random = 42;
	pthread_t steady[STEADY_COUNT], looker, forker, short_lived[SHORT_COUNT];
	uintptr_t seed = 1;

	resolve();
	alarm((unsigned)(duration_ms(argc, argv) / 1000 + 300));
	uint64_t live_before = live_bytes();
	for (size_t i = 0; i < STEADY_COUNT; i++)
		MUST(pthread_create(&steady[i], NULL, live_long, (void *)seed++) == 0);
	for (size_t i = 0; i < SHORT_COUNT; i++)
		MUST(pthread_create(&short_lived[i], NULL, live_shortly, (void *)seed++) == 0);
	MUST(pthread_create(&looker, NULL, look_all_the_time, NULL) == 0);
	MUST(pthread_create(&forker, NULL, fork_now_and_then, NULL) == 0);
	while (now_ms() < until || walks == 0 || trims == 0) {
		size_t i = draw(&random, SHORT_COUNT);
		pthread_join(short_lived[i], NULL);
		MUST(pthread_create(&short_lived[i], NULL, live_shortly, (void *)seed++) == 0);
		atomic_fetch_add(&threads_born, 1);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < STEADY_COUNT; i++)
		pthread_join(steady[i], NULL);
	for (size_t i = 0; i < SHORT_COUNT; i++)
		pthread_join(short_lived[i], NULL);
	pthread_join(looker, NULL);
	pthread_join(forker, NULL);
	for (size_t i = 0; i < SHELF_SIZE; i++)
		drop(atomic_exchange(&shelf[i], NULL));
	end(live_before);
	return 0;
}

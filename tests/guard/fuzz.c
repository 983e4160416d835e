/* Calls of all kinds at random, against a shadow of what each block holds: `fuzz SEED OPERATIONS THREADS`. Says "good", or
 * what was wrong. What malloc promises holds in guard mode: alignment, contents, zeroes, no two blocks in one place. */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS 512
#define THREADS_MAX 8

struct shadow {
	unsigned char *block;
	size_t size;
	size_t alignment;
	unsigned char first;            /* byte i holds first + i * 7 */
};

struct worker {
	uint64_t random;
	long operations;
	struct shadow shadows[BLOCKS];
};

static size_t least_alignment;

static uint64_t draw(struct worker *worker, uint64_t below)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 7;
	worker->random ^= worker->random << 17;
	return (worker->random >> 16) % below;
}

static void must(int condition, const char *what, const struct shadow *shadow)
{
	if (condition)
		return;
	printf("%s: %p, %zu bytes\n", what, (void *)shadow->block, shadow->size);
	exit(1);
}

static unsigned char byte_at(const struct shadow *shadow, size_t i)
{
	return (unsigned char)(shadow->first + i * 7);
}

static void check(const struct shadow *shadow, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		must(shadow->block[i] == byte_at(shadow, i), "contents", shadow);
}

static void fill(struct worker *worker, struct shadow *shadow)
{
	shadow->first = (unsigned char)draw(worker, 256);
	for (size_t i = 0; i < shadow->size; i++)
		shadow->block[i] = byte_at(shadow, i);
}

static size_t some_size(struct worker *worker)
{
	switch (draw(worker, 16)) {
	case 0:
		return 0;
	case 1:
		return draw(worker, 400000);
	case 2:
	case 3:
		return draw(worker, 20000);
	case 4:
		return 4096 * draw(worker, 4) + draw(worker, 3) - (draw(worker, 4) > 0);
	default:
		return draw(worker, 600);
	}
}

static void made(struct worker *worker, struct shadow *shadow)
{
	must(shadow->block != NULL, "no block", shadow);
	must((uintptr_t)shadow->block % shadow->alignment == 0, "alignment", shadow);
	must(malloc_usable_size(shadow->block) >= shadow->size, "usable size", shadow);
	fill(worker, shadow);
}

static void make(struct worker *worker, struct shadow *shadow)
{
	size_t size = some_size(worker);
	void *block = NULL;

	if (size > (size_t)1 << 40)
		size = 1;
	*shadow = (struct shadow){ .size = size, .alignment = least_alignment };
	switch (draw(worker, 6)) {
	case 0:
		shadow->block = calloc(1, size);
		for (size_t i = 0; i < size; i++)
			must(shadow->block[i] == 0, "not zero", shadow);
		break;
	case 1:
		shadow->alignment = (size_t)16 << draw(worker, 13);
		shadow->block = posix_memalign(&block, shadow->alignment, size) == 0 ? block : NULL;
		break;
	case 2:
		shadow->alignment = (size_t)16 << draw(worker, 8);
		shadow->block = aligned_alloc(shadow->alignment, size);
		break;
	case 3:
		shadow->block = realloc(NULL, size);
		break;
	default:
		shadow->block = malloc(size);
	}
	made(worker, shadow);
}

static void drop(struct shadow *shadow)
{
	check(shadow, shadow->size);
	free(shadow->block);
	shadow->block = NULL;
}

static void resize(struct worker *worker, struct shadow *shadow)
{
	size_t size = some_size(worker);

	if (size == 0 || size > (size_t)1 << 40)
		size = 1;
	check(shadow, shadow->size);
	shadow->block = realloc(shadow->block, size);
	check(shadow, size < shadow->size ? size : shadow->size);
	shadow->size = size;
	shadow->alignment = least_alignment;
	made(worker, shadow);
}

static void *run(void *argument)
{
	struct worker *worker = argument;

	for (long i = 0; i < worker->operations; i++) {
		struct shadow *shadow = &worker->shadows[draw(worker, BLOCKS)];
		if (shadow->block == NULL)
			make(worker, shadow);
		else if (draw(worker, 3) == 0)
			resize(worker, shadow);
		else
			drop(shadow);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		if (worker->shadows[i].block != NULL)
			drop(&worker->shadows[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	int count = argc > 3 ? atoi(argv[3]) : 1;
	const char *options = getenv("QUARRY_OPTIONS");

	if (argc < 3 || count < 1 || count > THREADS_MAX)
		return 2;
	least_alignment = options != NULL && strstr(options, "guard_align=1") != NULL ? 1 : 16;
	for (int i = 0; i < count; i++) {
		workers[i] = (struct worker){ .random = strtoull(argv[1], NULL, 0) * 2654435761u + (unsigned)i + 1,
			                      .operations = atol(argv[2]) };
		if (pthread_create(&threads[i], NULL, run, &workers[i]) != 0)
			return 2;
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	puts("good");
	return 0;
}

/* Counting allocations: see sample.h. */
#include "thread/sample.h"

#include <string.h>

#include "base/check.h"
#include "block/secure.h"
#include "os/os.h"
#include "space/meta.h"
#include "thread/magazine.h"

/* A batch costs a slow path, and takes a loop that frees what it allocates through so many blocks in place of one: 32 KiB
 * of them at most, half of what a magazine may hold. */
#define FRONT_MAX ((size_t)63)

uint64_t sample_interval;

/* Of threads without a heap. */
static _Atomic uint64_t shared_left;

/* ---- Intervals ---- */

static uint64_t random_next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* Allocations before the next sample: 0 to 2N - 2. */
static uint64_t draw(uint64_t *random)
{
	return (uint64_t)((unsigned __int128)(random_next(random) * 0x2545f4914f6cdd1du) * (2 * sample_interval - 1) >> 64);
}

/* What is left of an interval at any old moment: the shorter of two, as many as reach so far. */
static uint64_t draw_rest(uint64_t *random)
{
	uint64_t one = draw(random);
	uint64_t other = draw(random);

	return one < other ? one : other;
}

/* Another one for each thread, process and time. */
static uint64_t seed_of(const void *where)
{
	uint64_t seed = ((uintptr_t)where ^ os_now_ns() << 32) * 0x9e3779b97f4a7c15u;

	seed ^= seed >> 32;
	seed = (seed ^ os_now_ns()) * 0xd6e8feb86659fd93u;
	return seed | 1;
}

static void begin(uint64_t *random, const void *where, uint64_t *left)
{
	*random = seed_of(where);
	*left = draw_rest(random);
}

static void shared_begin(void)
{
	uint64_t random, left;

	begin(&random, &shared_left, &left);
	atomic_store_explicit(&shared_left, left, memory_order_relaxed);
}

void sample_configure(uint64_t interval)
{
	sample_interval = interval;
	if (interval != 0)
		shared_begin();
}

void sample_heap_init(struct heap *heap)
{
	struct counted *counted = &heap->counted;

	heap->stock = counted->stock;
	memcpy(counted->stock, heap->magazines, sizeof(counted->stock));
	begin(&counted->random, heap, &counted->left);
}

/* ---- Turns ---- */

static bool turn_of_shared(void)
{
	uint64_t left = atomic_load_explicit(&shared_left, memory_order_relaxed);
	uint64_t next;

	do {
		uint64_t random = left > 0 ? 0 : seed_of(&left);
		next = left > 0 ? left - 1 : draw(&random);
	} while (!atomic_compare_exchange_weak_explicit(&shared_left, &left, next, memory_order_relaxed, memory_order_relaxed));
	return left == 0;
}

/* After so many more were counted, the last of them in this class. */
static void count(struct counted *counted, unsigned class_index, size_t allocations)
{
	counted->left -= allocations;
	if (counted->left > 0 || counted->due[class_index])
		return;
	counted->due[class_index] = true;
	counted->left = draw(&counted->random);
}

bool sample_turn(struct heap *heap, unsigned class_index)
{
	if (heap == NULL)
		return turn_of_shared();
	struct counted *counted = &heap->counted;
	if (counted->due[class_index]) {
		counted->due[class_index] = false;
		return true;
	}
	if (counted->left == 0) {
		counted->left = draw(&counted->random);
		return true;
	}
	/* With a security level there are no batches. */
	if (class_index == CLASS_COUNT || secure.on)
		count(counted, class_index, 1);
	return false;
}

/* ---- Fronts ---- */

size_t sample_front_max(unsigned class_index)
{
	return max_size(min_size(size_classes[class_index].magazine_max / 2u, FRONT_MAX), 1);
}

/* Its memory; NULL if there is none to be had. */
static struct entry *front_of(struct heap *heap, unsigned class_index)
{
	struct entry **front = &heap->counted.fronts[class_index];

	if (LIKELY(*front != NULL))
		return *front;
	lock_take(&space_lock);
	struct entry *entries = meta_alloc_recycled((sample_front_max(class_index) + 1) * sizeof(*entries));
	lock_release(&space_lock);
	if (entries == NULL)
		return NULL;
	entries[0] = *heap_empty.magazines[class_index].top;
	heap->magazines[class_index] = (struct magazine){ .top = entries, .limit = entries };
	return *front = entries;
}

void sample_advance(struct heap *heap, unsigned class_index)
{
	struct counted *counted = &heap->counted;
	struct magazine *stock = &counted->stock[class_index];
	struct magazine *front = &heap->magazines[class_index];

	/* The sample that was due just now could not be made. */
	if (counted->left == 0)
		return;
	struct entry *entries = front_of(heap, class_index);
	size_t moved = min_size(min_size(magazine_count(heap, class_index), sample_front_max(class_index)), counted->left - 1);
	if (entries == NULL || front->top != entries)
		moved = 0;
	if (moved > 0) {
		stock->top -= moved;
		memcpy(entries + 1, stock->top + 1, moved * sizeof(*entries));
		front->top = entries + moved;
	}
	count(counted, class_index, moved + 1);
}

bool sample_lacks(const struct heap *heap, unsigned class_index)
{
	const struct bin *bin = &heap->bins[class_index];
	size_t cached = magazine_count(heap, class_index);
	size_t wanted = sample_front_max(class_index);

	/* What there is may be worth a batch, or fill half of what the magazine may grow to; or the program frees more. */
	size_t grown = min_size(bin->allowed * 2u + 1, size_classes[class_index].magazine_max);
	return cached <= wanted - wanted / 4 && cached <= grown / 2 && !bin->dropped;
}

struct entry sample_take(unsigned class_index)
{
	struct heap *heap = heap_at(thread_heap_distance);

	if (thread_heap_distance == 0 || heap->stock == heap->magazines || heap->counted.left == 0 || heap->counted.due[class_index])
		return (struct entry){ NULL, NULL };
	struct magazine *stock = &heap->stock[class_index];
	if (stock->top->block == NULL || sample_lacks(heap, class_index))
		return (struct entry){ NULL, NULL };
	struct entry entry = *stock->top--;
	sample_advance(heap, class_index);
	DCHECK(heap_is_valid(heap));
	return entry;
}

bool sample_take_back(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];
	struct entry *entries = heap->counted.fronts[class_index];
	struct magazine *stock = &heap->stock[class_index];
	struct magazine *front = &heap->magazines[class_index];

	if (entries == NULL || front->top == entries)
		return false;
	size_t taken = (size_t)(front->top - entries);
	if (magazine_count(heap, class_index) + taken > bin->capacity)
		return false;
	memcpy(stock->top + 1, entries + 1, taken * sizeof(*entries));
	stock->top += taken;
	front->top = entries;
	heap->counted.left += taken;
	return true;
}

bool sample_front_is_valid(const struct heap *heap, unsigned class_index)
{
	const struct magazine *front = &heap->magazines[class_index];
	const struct entry *entries = heap->counted.fronts[class_index];

	if (entries == NULL)
		return front->top->block == NULL;
	return front->top >= entries && front->top <= entries + sample_front_max(class_index) && entries->block == NULL;
}

void sample_fork_child(struct heap *own)
{
	if (!sample_is_on())
		return;
	shared_begin();
	if (own == NULL)
		return;
	/* What its fronts hold was counted by its parent. Where the stock has no room for it, it stays so. */
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++) {
		size_t room = (size_t)(own->stock[class_index].limit - own->stock[class_index].top);
		const struct entry *entries = own->counted.fronts[class_index];
		if (entries != NULL && (size_t)(own->magazines[class_index].top - entries) <= room)
			sample_take_back(own, class_index);
	}
	memset(own->counted.due, 0, sizeof(own->counted.due));
	begin(&own->counted.random, own, &own->counted.left);
}

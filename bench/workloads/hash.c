/* A hash table with chains and string keys: filled entry by entry, emptied in the order it was filled, in reverse, or
 * at random.
 *
 * Stresses what most programs keep: two small blocks per entry, a large zeroed array that is replaced by one of twice
 * the size as the table grows, and frees that come while the table is still in use - each entry is looked up by its key
 * before it goes. The tables of interpreters, of compilers and of key-value servers. Rounds follow each other on the
 * same heap, as in binary.c.
 */
#include "bench.h"

enum order { ORDER_FILLED, ORDER_REVERSE, ORDER_RANDOM, ORDERS };
enum { BUCKETS_FIRST = 16, KEY_MOST = 48 };

struct entry {
	struct entry *next;
	uint64_t hash, number;
	char *key;
};

static struct entry **buckets, **filled; /* filled: in order; outside the allocator that is measured */
static uint64_t bucket_count, entry_count, seed = 1;

/* FNV-1a */
static uint64_t hash_of(const char *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	while (*key)
		hash = (hash ^ (unsigned char)*key++) * UINT64_C(0x100000001b3);
	return hash;
}

static void table_grow(void)
{
	uint64_t wider = bucket_count ? 2 * bucket_count : BUCKETS_FIRST;
	struct entry **into = need(calloc(wider, sizeof *into));
	for (uint64_t b = 0; b < bucket_count; b++)
		for (struct entry *entry = buckets[b], *next; entry; entry = next) {
			next = entry->next;
			entry->next = into[entry->hash & (wider - 1)];
			into[entry->hash & (wider - 1)] = entry;
		}
	free(buckets);
	buckets = into;
	bucket_count = wider;
}

/* The number in hexadecimal digits, then dots up to a length of its own: 6-47 characters. */
static char *key_new(uint64_t number)
{
	char text[KEY_MOST];
	uint64_t length = random_between(&seed, 6, KEY_MOST - 1);
	memset(text, '.', length);
	for (int digit = 0; digit < 6; digit++)
		text[digit] = "0123456789abcdef"[number >> 4 * digit & 15];
	text[length] = 0;
	return need(strdup(text));
}

static void table_insert(uint64_t number)
{
	if (entry_count == bucket_count)
		table_grow();
	struct entry *entry = need(malloc(sizeof *entry));
	entry->key = key_new(number);
	entry->number = number;
	entry->hash = hash_of(entry->key);
	entry->next = buckets[entry->hash & (bucket_count - 1)];
	buckets[entry->hash & (bucket_count - 1)] = entry;
	filled[number] = entry;
	entry_count++;
}

static uint64_t table_remove(const char *key)
{
	uint64_t hash = hash_of(key);
	struct entry **link = &buckets[hash & (bucket_count - 1)];
	while (*link && ((*link)->hash != hash || strcmp((*link)->key, key) != 0))
		link = &(*link)->next;
	struct entry *entry = *link;
	if (!entry)
		fail("the key '%s' is lost", key);
	uint64_t number = entry->number;
	*link = entry->next;
	free(entry->key);
	free(entry);
	entry_count--;
	return number;
}

int main(int argc, char **argv)
{
	uint64_t entries = 500000, rounds = 2, order = ORDER_FILLED;
	const struct argument rows[] = {
	    {"order", &order, 0, ORDERS - 1, "of the frees: 0 as filled, 1 in reverse, 2 at random"},
	    {"entries", &entries, 1, 1 << 24, "entries"},
	    {"rounds", &rounds, 1, 1000000, "times it is filled and emptied"},
	};
	ARGUMENTS(argc, argv, rows);
	filled = table_new(entries, sizeof *filled);

	uint64_t start = now_ns();
	for (uint64_t round = 0; round < rounds; round++) {
		uint64_t sum = 0;
		for (uint64_t i = 0; i < entries; i++)
			table_insert(i);
		if (order == ORDER_RANDOM)
			shuffle((void **)filled, entries, &seed);
		for (uint64_t i = 0; i < entries; i++)
			sum += table_remove(filled[order == ORDER_REVERSE ? entries - 1 - i : i]->key);
		if (entry_count || sum != entries * (entries - 1) / 2)
			fail("the entries' numbers don't add up");
		free(buckets);
		buckets = NULL;
		bucket_count = 0;
	}
	result("entry", (double)(now_ns() - start) / (double)(rounds * entries), "ns");
	return 0;
}

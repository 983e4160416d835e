/* An LRU cache of 64 MB in a server: values of 32 bytes to 64 KiB are looked up by string keys, the oldest make room.
 *
 * Stresses a heap that is full for good, where blocks of all sizes leave in an order that has nothing to do with their
 * places, while short-lived blocks of requests come and go around them. memcached, Redis and every proxy; the pattern
 * in which Redis' fragmentation figure was made. Keys are drawn evenly over the logarithm of their number (Zipf's law),
 * each key is inserted when it is missed. Figures: the share of hits, and resident memory over the bytes cached.
 */
#include "bench.h"

enum { BUCKETS = 1 << 15, MB = 1000000, KEY_MOST = 80, VALUE_LEAST = 32, VALUE_MOST = 65536, REQUEST_BLOCKS = 6 };

struct entry {
	struct entry *chain;         /* the next in its bucket */
	struct entry *newer, *older; /* a ring through the head */
	char *key, *value;
	uint64_t bytes;              /* of the value, all of which are the same */
};

static struct entry head = {NULL, &head, &head, NULL, NULL, 0}; /* its older is the newest, its newer the oldest */
static struct entry **buckets;
static uint64_t cached_bytes, seed = 1;

static struct entry **bucket_of(const char *key)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	while (*key)
		hash = (hash ^ (unsigned char)*key++) * UINT64_C(0x100000001b3);
	return &buckets[(hash ^ hash >> 32) % BUCKETS];
}

static struct entry **link_to(const char *key)
{
	struct entry **link = bucket_of(key);
	while (*link && strcmp((*link)->key, key) != 0)
		link = &(*link)->chain;
	return link;
}

static void ring_take(struct entry *entry)
{
	entry->newer->older = entry->older;
	entry->older->newer = entry->newer;
}

static void ring_put_newest(struct entry *entry)
{
	entry->newer = &head;
	entry->older = head.older;
	head.older->newer = entry;
	head.older = entry;
}

static void evict_oldest(void)
{
	struct entry *entry = head.newer;
	*link_to(entry->key) = entry->chain;
	ring_take(entry);
	cached_bytes -= entry->bytes;
	free(entry->key);
	free(entry->value);
	free(entry);
}

static void insert(const char *key, uint64_t bytes)
{
	struct entry *entry = need(malloc(sizeof *entry)), **bucket = bucket_of(key);
	entry->key = need(strdup(key));
	entry->value = need(malloc(bytes));
	entry->bytes = bytes;
	memset(entry->value, (int)bytes, bytes);
	entry->chain = *bucket;
	*bucket = entry;
	ring_put_newest(entry);
	cached_bytes += bytes;
}

/* The value is looked at and copied to a block as a reply would be. */
static void reply(struct entry *entry)
{
	char *copy = need(malloc(entry->bytes));
	memcpy(copy, entry->value, entry->bytes);
	if (copy[0] != (char)entry->bytes || copy[entry->bytes - 1] != (char)entry->bytes)
		fail("the value of '%s' lost its content", entry->key);
	free(copy);
	ring_take(entry);
	ring_put_newest(entry);
}

/* 1 for a hit. */
static int request_serve(uint64_t number, uint64_t cache_bytes)
{
	void *around[REQUEST_BLOCKS];
	char key[KEY_MOST];
	for (int i = 0; i < REQUEST_BLOCKS; i++)
		around[i] = block_new(random_spread(&seed, 32, 2048));
	snprintf(key, sizeof key, "session:%llu:%.*s", (unsigned long long)number, (int)(number % 37),
		 "a-name-that-some-keys-have-and-others-don't");
	struct entry *entry = *link_to(key);
	if (entry)
		reply(entry);
	else
		insert(key, random_spread(&seed, VALUE_LEAST, VALUE_MOST));
	while (cached_bytes > cache_bytes)
		evict_oldest();
	for (int i = 0; i < REQUEST_BLOCKS; i++)
		block_free(around[i]);
	return entry != NULL;
}

int main(int argc, char **argv)
{
	uint64_t requests = 500000, cache_mb = 64, keys = 1000000, hits = 0;
	const struct argument rows[] = {
	    {"requests", &requests, 1, UINT64_MAX, "requests"},
	    {"mb", &cache_mb, 1, 1000000, "MB of values in the cache"},
	    {"keys", &keys, 1, UINT32_MAX / 2, "different keys"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	uint64_t before_kib = resident_kib();
	buckets = table_new(BUCKETS, sizeof *buckets);

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < requests; n++)
		hits += (uint64_t)request_serve(random_spread(&seed, 1, keys), cache_mb * MB);
	uint64_t elapsed = now_ns() - start;

	result("request", (double)elapsed / (double)requests, "ns");
	result("misses", 1 - (double)hits / (double)requests, "count");
	result("rss_over_live", (double)(resident_kib() - before_kib) * 1024 / (double)cached_bytes, "count");
	while (head.newer != &head)
		evict_oldest();
	if (cached_bytes)
		fail("%llu bytes are left", (unsigned long long)cached_bytes);
	return 0;
}

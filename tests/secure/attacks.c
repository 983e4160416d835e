/* Attacks on a heap, one a run, named by the first argument; "names" lists them. The last line says how it went: "harmful"
 * if another block's or the program's own data were changed, a secret was read, or memory was handed out twice;
 * "harmless" else. Who is ended before that has been found out. Started by attacks.sh under several allocators, and
 * written against none of them. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 400
#define SMALL 64
#define LARGE ((size_t)1 << 20)
#define MIDDLE ((size_t)100000)
#define PATTERN 0x5a
#define SECRET "the secret that must not leak"

static unsigned char *volatile blocks[COUNT];
static int harm;

/* The program's own: what an attacker would like malloc to hand out. */
static struct {
	uint64_t head[2];
	uint64_t data[16];
} volatile target __attribute__((aligned(16)));

static void fill(size_t size)
{
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = malloc(size);
		memset(blocks[i], PATTERN, size);
	}
}

static void look(size_t size)
{
	for (int i = 0; i < COUNT; i++)
		for (size_t at = 0; blocks[i] != NULL && at < size; at++)
			harm |= blocks[i][at] != PATTERN;
}

static void free_all(void)
{
	for (int i = 0; i < COUNT; i++)
		free(blocks[i]);
}

/* Other work of the same size: what was damaged comes up again. More blocks than an allocator keeps at hand: it shouldn't be
 * chance whether that one is among them. */
#define MANY 4096

static void go_on(size_t size, int count, int rounds)
{
	static unsigned char *volatile others[MANY];

	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < count; i++)
			others[i] = malloc(size);
		for (int i = 0; i < count; i++)
			free(others[i]);
	}
}

static void write_bytes(volatile unsigned char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = 0xee;
}

/* ---- Overflows and underflows: before the first of them, after the last */

static void around(size_t size, ptrdiff_t offset, size_t bytes)
{
	fill(size);
	write_bytes(blocks[COUNT / 2] + offset, bytes);
	look(size);
	free_all();
	go_on(size, MANY, 12);
}

static void overflow_1(void) { around(SMALL, SMALL, 1); }
static void overflow_8(void) { around(SMALL, SMALL, 8); }
static void overflow_64(void) { around(SMALL, SMALL, 64); }
static void overflow_4096(void) { around(SMALL, SMALL, 4096); }
static void overflow_1_odd(void) { around(41, 41, 1); }
static void underflow_8(void) { around(SMALL, -8, 8); }
static void underflow_64(void) { around(SMALL, -64, 64); }

/* The end of a string, one too far. */
static void overflow_nul(void)
{
	fill(SMALL);
	blocks[COUNT / 2][SMALL] = 0;
	look(SMALL);
	free_all();
}

static void resized_overflow(void)
{
	fill(SMALL);
	blocks[7] = realloc(blocks[7], 100);
	memset(blocks[7], PATTERN, 100);
	blocks[7][100] = 1;
	blocks[7] = realloc(blocks[7], 200);
	look(SMALL);
	free_all();
}

static void large_around(ptrdiff_t offset, size_t bytes)
{
	for (int i = 0; i < 8; i++) {
		blocks[i] = malloc(LARGE);
		memset(blocks[i], PATTERN, LARGE);
	}
	write_bytes(blocks[4] + offset, bytes);
	for (int i = 0; i < 8; i++)
		for (size_t at = 0; at < LARGE; at++)
			harm |= blocks[i][at] != PATTERN;
	free_all();
}

static void large_overflow_1(void) { large_around(LARGE, 1); }
static void large_overflow_8192(void) { large_around(LARGE, 8192); }
static void large_underflow_8192(void) { large_around(-8192, 8192); }

/* ---- After a free */

static void write_after_free(void)
{
	fill(SMALL);
	unsigned char *stale = blocks[9];
	free(stale);
	blocks[9] = NULL;
	write_bytes(stale, SMALL);
	/* New blocks of others' have the attacker's data in them. */
	for (int i = 0; i < COUNT && !harm; i++) {
		unsigned char *block = malloc(SMALL);
		harm |= memchr(block, 0xee, SMALL) != NULL;
	}
	look(SMALL);
	free_all();
	go_on(SMALL, MANY, 12);
}

static void write_after_free_late(void)
{
	fill(SMALL);
	unsigned char *stale = blocks[9];
	free_all();
	go_on(SMALL, COUNT, 1);
	write_bytes(stale + 16, 8);
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = malloc(SMALL);
		harm |= memchr(blocks[i], 0xee, SMALL) != NULL;
	}
	free_all();
	go_on(SMALL, MANY, 12);
}

/* A field at the end is enough: nothing of the allocator's stands there. */
static void write_after_free_large(void)
{
	unsigned char *stale = malloc(LARGE);
	memset(stale, PATTERN, LARGE);
	free(stale);
	write_bytes(stale + LARGE / 2, 8);
	unsigned char *block = calloc(1, LARGE);
	harm = memchr(block, 0xee, LARGE) != NULL;
}

static void read_after_free_of(size_t size)
{
	char *secret = malloc(size);
	memset(secret, PATTERN, size);
	strcpy(secret + size / 2, SECRET);
	void *other = malloc(size);
	free(secret);
	harm = memcmp(secret + size / 2, SECRET, sizeof(SECRET)) == 0;
	free(other);
}

static void read_after_free(void) { read_after_free_of(SMALL); }
static void read_after_free_middle(void) { read_after_free_of(MIDDLE); }
static void read_after_free_large(void) { read_after_free_of(LARGE); }

/* What is freed is read by whoever gets the memory next. */
static void uninitialised_of(size_t size)
{
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = malloc(size);
		memset(blocks[i], PATTERN, size);
		memcpy(blocks[i] + size / 2, SECRET, sizeof(SECRET));
	}
	free_all();
	for (int i = 0; i < COUNT; i++) {
		char *block = malloc(size);
		harm |= memmem(block, size, SECRET, sizeof(SECRET)) != NULL;
	}
}

static void uninitialised(void) { uninitialised_of(SMALL); }
static void uninitialised_middle(void) { uninitialised_of(MIDDLE); }

/* The next malloc gets what was freed just now, and the attacker's data stand where a stale pointer looks. */
static void reuse_of(size_t size)
{
	int hits = 0;

	for (int i = 0; i < 100; i++) {
		void *stale = malloc(size);
		free(stale);
		void *block = malloc(size);
		hits += block == stale;
		blocks[i] = block;
	}
	harm = hits > 50;
}

static void reuse_at_once(void) { reuse_of(SMALL); }
static void reuse_at_once_large(void) { reuse_of(LARGE); }

/* ---- Double frees */

static void double_free(void)
{
	void *block = malloc(SMALL);
	free(block);
	free(block);
	harm = malloc(SMALL) == malloc(SMALL);
}

static void double_free_between(void)
{
	void *block = malloc(SMALL);
	void *other = malloc(SMALL);
	free(block);
	free(other);
	free(block);
	void *first = malloc(SMALL), *second = malloc(SMALL), *third = malloc(SMALL);
	harm = first == second || second == third || first == third;
}

/* Against caches of the thread: more than they hold lies between. */
static void double_free_far(void)
{
	fill(SMALL);
	void *block = blocks[5];
	free_all();
	free(block);
	fill(SMALL);
	for (int i = 0; i < COUNT; i++)
		for (int j = 0; j < i; j++)
			harm |= blocks[i] == blocks[j];
}

static void double_free_large(void)
{
	void *block = malloc(LARGE);
	free(block);
	free(block);
	harm = malloc(LARGE) == malloc(LARGE);
}

/* The block has a new owner meanwhile, who loses it. */
static void double_free_new_owner(void)
{
	for (int i = 0; i < 20; i++) {
		void *stale = malloc(SMALL);
		free(stale);
		void *owner = malloc(SMALL);
		free(stale);
		void *thief = malloc(SMALL);
		harm |= thief == owner;
	}
}

/* ---- What malloc is made to hand out */

static void poison(size_t size, int mangled)
{
	fill(size);
	for (int i = 100; i < 107; i++)
		free(blocks[i]);
	for (int i = 100; i < 107; i++) {
		uint64_t *word = (uint64_t *)blocks[i];
		word[0] = (uintptr_t)&target.data ^ (mangled ? (uintptr_t)word >> 12 : 0);
		blocks[i] = NULL;
	}
	for (int i = 0; i < COUNT && !harm; i++) {
		unsigned char *block = malloc(size);
		harm |= (uintptr_t)block - (uintptr_t)&target < sizeof(target);
	}
	free_all();
	go_on(size, MANY, 12);
}

static void free_list_poisoned(void) { poison(SMALL, 0); }
static void tcache_poisoned(void) { poison(SMALL, 1); }

/* A chunk with plausible words in front, where no block is (the house of spirit). */
static void free_forged(void)
{
	target.head[0] = 0;
	target.head[1] = SMALL + 17;
	free(&target.data);
	void *block = malloc(SMALL);
	harm = block == (void *)&target.data;
	block = malloc(SMALL + 8);
	harm |= block == (void *)&target.data;
}

static void free_inside(void)
{
	uint64_t *block = malloc(256);
	memset(block, 0, 256);
	block[3] = SMALL + 17;
	block[3 + (SMALL + 16) / 8] = SMALL + 17;
	free(block + 4);
	uint64_t *got = malloc(SMALL);
	harm = (uintptr_t)got - (uintptr_t)block < 256;
}

/* The words that an unlinking allocator keeps in front of the next block. */
static void unlinked(void)
{
	uint64_t *volatile first = malloc(1400), *volatile second = malloc(1400);
	void *volatile last = malloc(1400);
	uint64_t before = target.data[0] = 7;

	memset(first, PATTERN, 1400);
	first[(1400 + 8) / 8 - 1] = 0x580 & ~1u;       /* size, the one in front is free */
	first[1] = 0x570;
	first[2] = (uintptr_t)&target.data - 24;
	first[3] = (uintptr_t)&target.data - 16;
	free(second);
	free(first);
	harm = target.data[0] != before;
	free(last);
	go_on(1400, COUNT, 1);
}

/* ---- Wrong words at the free */

static void wrong_size_said(void)
{
	typedef void (*delete_function)(void *block, size_t size);
	delete_function delete = (delete_function)dlsym(RTLD_DEFAULT, "_ZdlPvm");

	if (delete == NULL && dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL) != NULL)
		delete = (delete_function)dlsym(RTLD_DEFAULT, "_ZdlPvm");
	if (delete == NULL)
		return;
	fill(SMALL);
	delete(blocks[3], 512);
	blocks[3] = NULL;
	/* In a list of larger ones, the next of that size reaches into its neighbours. */
	for (int i = 0; i < 8; i++)
		memset(malloc(512), 0xee, 512);
	look(SMALL);
}

static const struct {
	const char *name;
	const char *about;
	void (*run)(void);
} attacks[] = {
	{ "overflow_1", "write 1 byte behind a block of 64", overflow_1 },
	{ "overflow_1_odd", "1 byte behind one of 41", overflow_1_odd },
	{ "overflow_nul", "a string's end 1 byte behind a block of 64", overflow_nul },
	{ "overflow_8", "8 bytes behind a block of 64", overflow_8 },
	{ "overflow_64", "64 bytes behind it, into the next one", overflow_64 },
	{ "overflow_4096", "4 KiB behind it", overflow_4096 },
	{ "underflow_8", "8 bytes in front of it", underflow_8 },
	{ "underflow_64", "64 bytes in front of it", underflow_64 },
	{ "resized_overflow", "1 byte behind a block that realloc made larger", resized_overflow },
	{ "large_overflow_1", "1 byte behind a block of 1 MiB", large_overflow_1 },
	{ "large_overflow_8192", "8 KiB behind it", large_overflow_8192 },
	{ "large_underflow_8192", "8 KiB in front of it", large_underflow_8192 },
	{ "write_after_free", "write to a freed block of 64, then malloc", write_after_free },
	{ "write_after_free_late", "the same, 8 bytes inside, long after the free", write_after_free_late },
	{ "write_after_free_large", "write to a freed block of 1 MiB, then calloc", write_after_free_large },
	{ "read_after_free", "read a freed block of 64", read_after_free },
	{ "read_after_free_middle", "of 100,000 bytes", read_after_free_middle },
	{ "read_after_free_large", "of 1 MiB", read_after_free_large },
	{ "uninitialised", "read what malloc gives, 64 bytes that held a secret", uninitialised },
	{ "uninitialised_middle", "100,000 bytes", uninitialised_middle },
	{ "reuse_at_once", "get the freed block of 64 by the next malloc", reuse_at_once },
	{ "reuse_at_once_large", "of 1 MiB", reuse_at_once_large },
	{ "double_free", "free twice", double_free },
	{ "double_free_between", "with another free between", double_free_between },
	{ "double_free_far", "with 400 others between", double_free_far },
	{ "double_free_large", "a block of 1 MiB", double_free_large },
	{ "double_free_new_owner", "when the block has its next owner", double_free_new_owner },
	{ "free_list_poisoned", "write a pointer over a freed block's first word", free_list_poisoned },
	{ "tcache_poisoned", "the same as glibc mangles it", tcache_poisoned },
	{ "free_forged", "free the program's own data with a forged header (house of spirit)", free_forged },
	{ "free_inside", "free the inside of a block with a forged header", free_inside },
	{ "unlinked", "forge the words of a free neighbour, for an unlink", unlinked },
	{ "wrong_size_said", "operator delete with 512 for a block of 64", wrong_size_said },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (argc == 2 && strcmp(argv[1], "names") == 0)
			printf("%s|%s\n", attacks[i].name, attacks[i].about);
		if (argc < 2 || strcmp(argv[1], attacks[i].name) != 0)
			continue;
		attacks[i].run();
		puts(harm ? "harmful" : "harmless");
		fflush(stdout);
		_Exit(0);
	}
	return argc < 2;
}

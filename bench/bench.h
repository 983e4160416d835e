/* What the benchmark programs share: a small generator, a clock, arguments, figures from /proc, and the RESULT line.
 *
 * Included first by every program of bench/. Nothing here but block_new allocates while a program measures: reading
 * /proc uses the stack, and stdio is touched only by the final report.
 */
#ifndef QUARRY_BENCH_H
#define QUARRY_BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096 }; /* the step of touching; on larger pages a page is merely touched more than once */

/* --- end of the program in one line ------------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, list);
	fputc('\n', stderr);
	va_end(list);
	exit(2);
}

/* A block that must exist: a benchmark has no use for half of its blocks. */
static inline void *need(void *block)
{
	if (!block)
		fail("out of memory");
	return block;
}

/* Memory for a program's own tables, outside the allocator that is measured. Never given back. */
static inline void *table_new(size_t count, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, bytes, &total))
		fail("a table of %zu entries is too large", count);
	void *table = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (table == MAP_FAILED)
		fail("out of memory for a table of %zu entries", count);
	return table;
}

/* --- deterministic numbers: splitmix64 (Steele, Lea, Flood 2014) --------------------------------------------------- */

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 .. limit-1, for limits below 2^32. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return ((random_next(state) >> 32) * limit) >> 32;
}

/* least .. most, both included. */
static inline uint64_t random_between(uint64_t *state, uint64_t least, uint64_t most)
{
	return least + random_below(state, most - least + 1);
}

/* least .. most, below 2^32, each doubling equally likely: most values are small, most of their sum is in large ones. */
static inline uint64_t random_spread(uint64_t *state, uint64_t least, uint64_t most)
{
	uint64_t doublings = 64 - (uint64_t)__builtin_clzll(most / least), value;
	do {
		uint64_t low = least << random_below(state, doublings);
		value = low + random_below(state, low);
	} while (value > most);
	return value;
}

static inline void shuffle(void **blocks, size_t count, uint64_t *state)
{
	for (size_t i = count; i > 1; i--) {
		size_t j = random_below(state, i);
		void *held = blocks[i - 1];
		blocks[i - 1] = blocks[j];
		blocks[j] = held;
	}
}

/* --- blocks that are checked: the first bytes hold the size, the last byte repeats it ------------------------------ */

enum { BLOCK_LEAST = 8, BLOCK_MOST = UINT32_MAX / 2 }; /* bounds of a block's size in bytes */

static inline void block_mark(void *block, uint64_t bytes)
{
	uint32_t written = (uint32_t)bytes;
	memcpy(block, &written, sizeof written);
	((char *)block)[bytes - 1] = (char)written;
}

static inline void *block_new(uint64_t bytes)
{
	void *block = need(malloc(bytes));
	block_mark(block, bytes);
	return block;
}

/* As block_new, and every page of a large block is written too. */
static inline void *block_new_touched(uint64_t bytes)
{
	char *block = block_new(bytes);
	for (uint64_t at = PAGE_BYTES; at < bytes; at += PAGE_BYTES)
		block[at] = (char)bytes;
	return block;
}

/* Returns the size. A block that was handed out twice, or written to by the allocator, ends the program. */
static inline uint64_t block_check(const void *block)
{
	uint32_t bytes;
	memcpy(&bytes, block, sizeof bytes);
	if (bytes < BLOCK_LEAST || ((const char *)block)[bytes - 1] != (char)bytes)
		fail("a block of %u bytes lost its content", (unsigned)bytes);
	return bytes;
}

static inline void block_free(void *block)
{
	if (block)
		block_check(block);
	free(block);
}

/* --- clock --------------------------------------------------------------------------------------------------------- */

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- arguments: --name NUMBER -------------------------------------------------------------------------------------- */

struct argument {
	const char *name;  /* without the dashes */
	uint64_t *value;   /* holds the default until it is read */
	uint64_t least;    /* smaller values are refused */
	uint64_t most;     /* larger ones too */
	const char *about;
};

static inline void arguments_help(const struct argument *rows, size_t count)
{
	printf("usage: %s [--NAME NUMBER]...\n", program_invocation_short_name);
	for (size_t i = 0; i < count; i++)
		printf("  --%-12s %s (default %llu)\n", rows[i].name, rows[i].about, (unsigned long long)*rows[i].value);
}

static inline void argument_set(const struct argument *row, const char *text)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end)
		fail("--%s: '%s' is not a number", row->name, text);
	if (value < row->least || value > row->most)
		fail("--%s: %s is not between %llu and %llu", row->name, text, (unsigned long long)row->least,
		     (unsigned long long)row->most);
	*row->value = value;
}

static inline void arguments_read(int argc, char **argv, const struct argument *rows, size_t count)
{
	for (int at = 1; at < argc; at += 2) {
		size_t i = 0;
		if (strcmp(argv[at], "--help") == 0) {
			arguments_help(rows, count);
			exit(0);
		}
		while (i < count && (strncmp(argv[at], "--", 2) != 0 || strcmp(argv[at] + 2, rows[i].name) != 0))
			i++;
		if (i == count)
			fail("unknown argument '%s' (--help lists them)", argv[at]);
		if (at + 1 == argc)
			fail("%s needs a number", argv[at]);
		argument_set(&rows[i], argv[at + 1]);
	}
}

#define ARGUMENTS(argc, argv, rows) arguments_read(argc, argv, rows, sizeof(rows) / sizeof((rows)[0]))

/* --- figures of this process --------------------------------------------------------------------------------------- */

enum { PROC_TEXT_BYTES = 4096 };

/* The beginning of a file under /proc/self, onto the caller's stack. */
static inline void proc_read(const char *path, char text[PROC_TEXT_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, PROC_TEXT_BYTES - 1);
	if (length <= 0)
		fail("cannot read %s", path);
	close(fd);
	text[length] = 0;
}

/* The KiB behind a key of such a file: status, smaps_rollup. */
static inline uint64_t proc_kib(const char *path, const char *key)
{
	char text[PROC_TEXT_BYTES];
	proc_read(path, text);
	const char *line = strstr(text, key);
	if (!line)
		fail("%s has no %s", path, key);
	return strtoull(line + strlen(key), NULL, 10);
}

/* Resident memory now, from /proc/self/statm. */
static inline uint64_t resident_kib(void)
{
	char text[PROC_TEXT_BYTES];
	proc_read("/proc/self/statm", text);
	const char *second = strchr(text, ' ');
	if (!second)
		fail("/proc/self/statm has no second field");
	return strtoull(second, NULL, 10) * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
}

/* The most that was resident at once, from /proc/self/status (getrusage would count the memory of who started us). */
static inline uint64_t peak_kib(void)
{
	return proc_kib("/proc/self/status", "VmHWM:");
}

/* Number of mappings: the lines of /proc/self/maps. */
static inline uint64_t mappings_count(void)
{
	char text[4096];
	uint64_t lines = 0;
	ssize_t length;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("cannot read /proc/self/maps");
	while ((length = read(fd, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < length; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

/* --- the line that bench/compare reads ------------------------------------------------------------------------------ */

/* Lower is better, except for keys that end in _per_s. Units: ns us ms s (time), KiB MiB (memory), M (rate), count. */
static inline void result(const char *key, double value, const char *unit)
{
	printf("RESULT %s=%.6g %s\n", key, value, unit);
}

#endif

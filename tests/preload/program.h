/* What the programs share that libquarry.so is preloaded into: complaining, waiting, and what the kernel says of the
 * process, without a call of the allocator's. */
#ifndef QUARRY_TESTS_PRELOAD_PROGRAM_H
#define QUARRY_TESTS_PRELOAD_PROGRAM_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static inline void complain(const char *what, long number)
{
	dprintf(1, "%s: %ld\n", what, number);
	_exit(2);
}

static inline void sleep_ms(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };

	while (nanosleep(&time, &time) != 0)
		;
}

/* What the first argument chooses. */
struct part {
	const char *name;
	void (*run)(void);
};

/* False if there is no such part. */
static inline bool run_part(const struct part *parts, size_t count, int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < count; i++)
		if (strcmp(parts[i].name, argv[1]) == 0) {
			parts[i].run();
			return true;
		}
	return false;
}

static inline size_t file_read(const char *path, char *text, size_t capacity)
{
	int file = open(path, O_RDONLY);
	ssize_t got = file >= 0 ? read(file, text, capacity - 1) : -1;

	if (file >= 0)
		close(file);
	text[got > 0 ? got : 0] = 0;
	return got > 0 ? (size_t)got : 0;
}

static inline size_t resident(void)
{
	char text[256];

	file_read("/proc/self/statm", text, sizeof(text));
	char *second = strchr(text, ' ');
	return second != NULL ? strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

#endif

/* 50,000 short threads, each hands main a few blocks to free: what is resident stays bounded, and so do the heaps. Every
 * tenth allocates enough to get a heap of its own. Prints what it reached. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quarry/quarry.h"

#define THREADS 50000
#define AT_ONCE 4
#define BLOCKS 20

struct parcel {
	pthread_t thread;
	int number;
	char *blocks[BLOCKS];
};

static void *work(void *argument)
{
	struct parcel *parcel = argument;

	for (int i = 0; parcel->number % 10 == 0 && i < 300; i++)
		free(malloc((size_t)i));
	for (int i = 0; i < BLOCKS; i++) {
		size_t size = (size_t)(parcel->number * 31 + i * 97) % 3000 + 1;
		memset(parcel->blocks[i] = malloc(size), 1, size);
	}
	return NULL;
}

static size_t resident_kib(void)
{
	char text[128] = "";
	int statm = open("/proc/self/statm", O_RDONLY);
	size_t total, resident;

	if (statm < 0 || read(statm, text, sizeof(text) - 1) <= 0 || sscanf(text, "%zu %zu", &total, &resident) != 2)
		exit(2);
	close(statm);
	return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

int main(void)
{
	static struct parcel parcels[AT_ONCE];
	int (*stats_of)(struct quarry_stats *) = (int (*)(struct quarry_stats *))dlsym(RTLD_DEFAULT, "quarry_stats");
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };
	size_t warm = 0;

	if (stats_of == NULL)
		return 2;
	for (int i = 0; i < THREADS; i += AT_ONCE) {
		for (int j = 0; j < AT_ONCE; j++) {
			parcels[j].number = i + j;
			if (pthread_create(&parcels[j].thread, NULL, work, &parcels[j]) != 0)
				return 3;
		}
		for (int j = 0; j < AT_ONCE; j++) {
			pthread_join(parcels[j].thread, NULL);
			for (int k = 0; k < BLOCKS; k++)
				free(parcels[j].blocks[k]);
		}
		if (i == THREADS / 10)
			warm = resident_kib();
	}
	size_t end = resident_kib();
	stats_of(&stats);
	fprintf(stderr, "resident: %zu KiB after a tenth, %zu KiB at the end; %lu heaps\n", warm, end,
	        (unsigned long)stats.heap_count);
	if (end > warm + warm / 2 + 1024)
		printf("memory grows\n");
	/* As many as there were threads at once, main's, the shared one. */
	else if (stats.heap_count > AT_ONCE + 2)
		printf("too many heaps\n");
	else if (stats.live_blocks > 1000)
		printf("too many live blocks\n");
	else
		printf("good\n");
	return 0;
}

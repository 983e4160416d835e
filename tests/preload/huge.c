/* What the kernel knows of huge pages in Quarry's memory. `huge MODE` prints a line for each thing seen. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

static size_t vmas, huge_kib, away;
static char flags[256];

/* The VMA that holds the address: its flags about huge pages, and how much is huge; all VMAs counted. Into a buffer of
 * our own: nothing is to be allocated. */
static void look_at(const void *address)
{
	static char buffer[1 << 16], line[512];
	FILE *file = fopen("/proc/self/smaps", "r");
	int here = 0;
	unsigned long from, to;

	setvbuf(file, buffer, _IOFBF, sizeof(buffer));
	vmas = huge_kib = 0;
	flags[0] = 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			vmas++;
			here = from <= (uintptr_t)address && (uintptr_t)address < to;
		}
		if (here && strncmp(line, "AnonHugePages:", 14) == 0)
			huge_kib = strtoul(line + 14, NULL, 10);
		if (here && strncmp(line, "VmFlags:", 8) == 0) {
			strcat(flags, strstr(line, " nh") != NULL ? "none" : "");
			strcat(flags, strstr(line, " hg") != NULL ? "wanted" : "");
		}
	}
	fclose(file);
}

/* Blocks that realloc moves by their page tables, with a neighbour in the way of each; then all is freed. */
static void moved(void)
{
	enum { COUNT = 40 };
	static char *blocks[COUNT], *walls[COUNT];
	char all[4096] = "";

	look_at(blocks);
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = memset(malloc(MIB), i, MIB);
		walls[i] = malloc(MIB);
	}
	look_at(blocks[0]);
	size_t before = vmas;
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = realloc(blocks[i], 3 * MIB);
		if (blocks[i][MIB - 1] != i)
			puts("bytes are lost");
		look_at(blocks[i]);
		if (strstr(all, flags[0] != 0 ? flags : "system") == NULL)
			strcat(strcat(all, all[0] != 0 ? " " : ""), flags[0] != 0 ? flags : "system");
	}
	printf("moved blocks: %s\n", all);
	for (int i = 0; i < COUNT; i++) {
		free(blocks[i]);
		free(walls[i]);
	}
	/* Where they have been there is fresh memory, like the rest. */
	all[0] = 0;
	for (int i = 0; i < COUNT; i++) {
		blocks[i] = memset(malloc(3 * MIB), 1, 3 * MIB);
		look_at(blocks[i]);
		if (strstr(all, flags[0] != 0 ? flags : "system") == NULL)
			strcat(strcat(all, all[0] != 0 ? " " : ""), flags[0] != 0 ? flags : "system");
	}
	printf("blocks in their place: %s\n", all);
	for (int i = 0; i < COUNT; i++)
		free(blocks[i]);
	look_at(&vmas);
	printf("mappings: %s\n", vmas <= before + 2 ? "as before" : "more");
}

static void filled(void)
{
	char *block = malloc(64 * MIB);

	memset(block, 1, 64 * MIB);
	look_at(block);
	printf("block: %s\nhuge: %s\n", flags[0] != 0 ? flags : "system", 
	       huge_kib >= 32 * 1024 ? "most" :
	       huge_kib > 0          ? "some" :
	                               "none");
}

/* All but one small block in 64 are freed. */
static void scattered(void)
{
	enum { COUNT = 64 * 1024 };
	static char *blocks[COUNT];

	memset(blocks, 1, sizeof(blocks));
	size_t start = resident();
	for (int i = 0; i < COUNT; i++)
		blocks[i] = memset(malloc(1024), 1, 1024);
	size_t peak = resident();
	for (int i = 0; i < COUNT; i++)
		if (i % 64 != 0)
			free(blocks[i]);
	/* Time passes, and slow paths. */
	for (int i = 0; i < 600; i++) {
		free(malloc(100 * 1024));
		usleep(1000);
	}
	size_t left = resident();
	int malloc_trim(size_t);
	malloc_trim(0);
	size_t trimmed = resident();
	printf("by itself: %s\n", left - start < (peak - start) / 2                ? "most" :
	       left - start > (peak - start) / 10 * 9 ? "next to nothing" :
	                                                "some");
	printf("by malloc_trim: %s\n", trimmed - start < (peak - start) / 2 ? "most" : "little");
}

int main(int argc, char **argv)
{
	if (strcmp(argv[1], "moved") == 0)
		moved();
	else if (strcmp(argv[1], "filled") == 0)
		filled();
	else
		scattered();
	return 0;
}

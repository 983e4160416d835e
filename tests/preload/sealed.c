/* Reads, then writes the byte of libquarry.so at the offset that is given (of its symbol `sealed`). */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long base;

static int find(struct dl_phdr_info *info, size_t size, void *context)
{
	if (strstr(info->dlpi_name, "libquarry") != NULL)
		base = info->dlpi_addr;
	(void)size, (void)context;
	return 0;
}

int main(int argc, char **argv)
{
	dl_iterate_phdr(find, NULL);
	volatile char *byte = (volatile char *)(base + strtoul(argv[1], NULL, 16));
	if (base == 0 || argc < 2)
		return 2;
	free(malloc(10));
	char value = *byte;
	if (write(1, "read\n", 5) < 0)
		return 2;
	*byte = value;
	if (write(1, "written\n", 8) < 0)
		return 2;
	return 0;
}

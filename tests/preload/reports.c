/* Reports out of places where little may be relied on. `reports MODE [NUMBER]`: each mode ends by SIGABRT, with a report, if no other is named.
 *
 *     signal N    a handler frees a block twice, when the Nth signal that comes meets a thread inside of Quarry
 *     stack N     a thread with N bytes of stack left frees a block twice
 *     corrupt N   words of Quarry's own memory are overwritten, and it goes on being used: some signal ends the process */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#include "program.h"
#include "quarry/quarry.h"

static char *volatile twice;

/* ---- Signals ---- */

static uintptr_t library, library_end;
static volatile sig_atomic_t wait_for;

static void meet(int signal_number, siginfo_t *info, void *context)
{
	ucontext_t *registers = context;
#if defined(__x86_64__)
	uintptr_t at = (uintptr_t)registers->uc_mcontext.gregs[REG_RIP];
#else
	uintptr_t at = (uintptr_t)registers->uc_mcontext.pc;
#endif

	(void)signal_number, (void)info;
	if (at >= library && at < library_end && wait_for-- <= 0)
		free(twice);
}

/* Where its code lies. */
static void find_library(void)
{
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;

	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
		if (strstr(line, "libquarry.so") != NULL && strstr(line, " r-xp ") != NULL &&
		    sscanf(line, "%lx-%lx", &from, &to) == 2) {
			library = from;
			library_end = to;
		}
	if (maps == NULL || library == 0)
		complain("no libquarry.so", errno);
	fclose(maps);
}

/* Slow paths and fast ones: spans, refills, regions' growth, the shared heap's lock (a thread that has allocated little). */
static void *allocate_all_the_time(void *argument)
{
	static __thread void *blocks[1000];

	for (unsigned i = 0;; i++) {
		void **block = &blocks[i * 7919u % 1000];
		free(*block);
		*block = malloc(i % 3 == 0 ? 100000 + i % 1000000 : i % 5000);
	}
	return argument;
}

static void by_signal(long number)
{
	struct sigaction action = { .sa_sigaction = meet, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct itimerval often = { { 0, 300 }, { 0, 300 } };
	pthread_t thread;

	find_library();
	wait_for = (sig_atomic_t)number;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	if (number % 2 == 0)
		pthread_create(&thread, NULL, allocate_all_the_time, NULL);
	allocate_all_the_time(NULL);
}

/* ---- Stacks ---- */

static size_t bytes_left;
static char *stack_low;

static __attribute__((noinline)) void descend(void)
{
	volatile char here[64];

	here[0] = 1;
	if ((uintptr_t)here - (uintptr_t)stack_low > bytes_left + 256)
		descend();
	else
		free(twice);
	here[1] = here[0];
}

static void *run_low(void *argument)
{
	free(malloc(1));
	descend();
	return argument;
}

static void with_stack(long number)
{
	size_t bytes = 256 * 1024;
	pthread_attr_t attributes;
	pthread_t thread;

	bytes_left = (size_t)number;
	stack_low = mmap(NULL, bytes + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack_low == MAP_FAILED)
		complain("mmap", errno);
	stack_low += 4096;
	mprotect(stack_low, bytes, PROT_READ | PROT_WRITE);
	pthread_attr_init(&attributes);
	pthread_attr_setstack(&attributes, stack_low, bytes);
	pthread_create(&thread, &attributes, run_low, NULL);
	pthread_join(thread, NULL);
}

/* ---- Quarry's own memory ---- */

#define TARGETS_MAX 100000

static struct quarry_description (*describe)(const void *);
static uint64_t *targets[TARGETS_MAX];
static size_t target_count;
static uint64_t seed;

static uint64_t draw(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 8) % bound;
}

/* What Quarry calls its own, where it can be written to. */
static void find_targets(void)
{
	static char maps[1 << 18];
	unsigned long from, to;
	char rights[8];

	file_read("/proc/self/maps", maps, sizeof(maps));
	for (char *line = maps; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 || rights[1] != 'w')
			continue;
		for (unsigned long at = from; at < to && target_count < TARGETS_MAX; at += sizeof(uint64_t))
			if (describe((void *)at).kind == QUARRY_METADATA && *(uint64_t *)at != 0)
				targets[target_count++] = (uint64_t *)at;
	}
	if (target_count == 0)
		complain("nothing to overwrite", 0);
}

/* Numbers, bytes, pointers that lead elsewhere, single bits. */
static void overwrite(uint64_t *word)
{
	switch (draw(4)) {
	case 0: *word = draw(UINT64_MAX); break;
	case 1: *word = draw(256) * 0x0101010101010101u; break;
	case 2: *word = *targets[draw(target_count)]; break;
	default: *word ^= (uint64_t)1 << draw(64);
	}
}

static void churn(void **blocks, size_t count, size_t times)
{
	for (size_t i = 0; i < times; i++) {
		void **block = &blocks[draw(count)];
		free(*block);
		*block = malloc(draw(draw(20) == 0 ? 200000 : 2000));
	}
}

static void corrupt(long number)
{
	static void *blocks[2000];

	*(void **)&describe = dlsym(RTLD_DEFAULT, "quarry_describe");
	if (describe == NULL)
		complain("no quarry_describe", 0);
	seed = (uint64_t)number * 2654435761u + 1;
	churn(blocks, 2000, 20000);
	find_targets();
	for (long i = 0; i < 1 << number % 10; i++)
		overwrite(targets[draw(target_count)]);
	churn(blocks, 2000, 20000);
	twice = malloc(100);
	free(twice);
	free(twice);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	long number = argc > 2 ? strtol(argv[2], NULL, 10) : 0;

	twice = malloc(100);
	free(twice);
	if (strcmp(mode, "signal") == 0)
		by_signal(number);
	else if (strcmp(mode, "stack") == 0)
		with_stack(number);
	else if (strcmp(mode, "corrupt") == 0)
		corrupt(number);
	dprintf(1, "went on\n");
	return 1;
}

/* Two Quarries in one process: one that the program brings along under names of its own (bundled_malloc for
 * quarry_malloc), and the one that is preloaded. Each knows its own blocks only; threads use both, and children do.
 * Prints "good". `copies wrong` frees a block of the bundled one by free. */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

#include "program.h"
#include "quarry/quarry.h"

/* As quarry.h declares them. */
void *bundled_malloc(size_t size);
void *bundled_realloc(void *block, size_t size);
void bundled_free(void *block);
size_t bundled_trim(size_t keep_bytes);
int bundled_stats(struct quarry_stats *stats);
struct quarry_description bundled_describe(const void *address);

#define BLOCKS 3000

static struct quarry_description (*describe)(const void *);

static void check_pair(const void *bundled, const void *preloaded)
{
	if (bundled_describe(bundled).kind != QUARRY_LIVE || describe(bundled).kind != QUARRY_FOREIGN)
		complain("the bundled one's block", 0);
	if (bundled_describe(preloaded).kind != QUARRY_FOREIGN || describe(preloaded).kind != QUARRY_LIVE)
		complain("the preloaded one's block", 0);
}

static void *use(void *argument)
{
	static __thread char *blocks[BLOCKS][2];

	for (size_t i = 0; i < BLOCKS; i++) {
		size_t bytes = i % 100 == 0 ? 200000 : i + 1;
		blocks[i][0] = bundled_malloc(bytes);
		blocks[i][1] = malloc(bytes);
		memset(blocks[i][0], 1, bytes);
		memset(blocks[i][1], 2, bytes);
		if (i % 3 == 0) {
			blocks[i][0] = bundled_realloc(blocks[i][0], bytes * 2);
			blocks[i][1] = realloc(blocks[i][1], bytes * 2);
		}
		check_pair(blocks[i][0], blocks[i][1]);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		if (blocks[i][0][i] != 1 || blocks[i][1][i] != 2)
			complain("a block was overwritten", (long)i);
		bundled_free(blocks[i][0]);
		free(blocks[i][1]);
	}
	return argument;
}

static void use_by_threads(void)
{
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, use, NULL);
	for (int i = 0; i < 10; i++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			alarm(60);
			use(NULL);
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			complain("a child", status);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	struct quarry_stats stats = { .struct_bytes = sizeof(stats) };

	*(void **)&describe = dlsym(RTLD_DEFAULT, "quarry_describe");
	if (describe == NULL)
		complain("no library is preloaded", 0);
	if (argc > 1 && strcmp(argv[1], "wrong") == 0) {
		free(bundled_malloc(100));
		complain("went on", 0);
	}
	use_by_threads();
	bundled_trim(0);
	if (bundled_stats(&stats) != 0 || stats.live_blocks != 0)
		complain("blocks that nobody has", (long)stats.live_blocks);
	dprintf(1, "good\n");
	return 0;
}

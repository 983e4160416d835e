/* Starts a tiny program many times: fork, exec, wait. The preload is inherited, so each start pays for the allocator's
 * own.
 *
 * Stresses what an allocator does before main and at exit: mappings, relocations, reading options. Shell scripts, make
 * and configure start thousands of processes (microsoft/mimalloc#593 for their memory, HigherOrderCO/Bend#881 for a
 * large reservation's +5 ms).
 */
#include "bench.h"
#include <sys/wait.h>

int main(int argc, char **argv)
{
	uint64_t count = 500;
	const struct argument rows[] = {{"processes", &count, 1, 10000000, "programs to start, one after the other"}};
	ARGUMENTS(argc, argv, rows);

	uint64_t start = now_ns();
	for (uint64_t i = 0; i < count; i++) {
		int status;
		pid_t child = fork();
		if (child < 0)
			fail("cannot fork: %s", strerror(errno));
		if (child == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			fail("/bin/true ended with status %#x", (unsigned)status);
	}
	uint64_t elapsed = now_ns() - start;

	result("process", (double)elapsed / (double)count / 1e3, "us");
	return 0;
}

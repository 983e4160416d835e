/* Runs one command under a preload and writes what it cost to a descriptor: the measuring hand of bench/compare.
 *
 * usage: meter DESCRIPTOR PRELOAD COMMAND [ARGUMENT]...     (an empty PRELOAD is none)
 * writes one line: wall-ns user-us system-us peak-KiB minor-faults status      (128 + N after signal N)
 * or: error TEXT
 *
 * Why a program of its own: ru_maxrss survives exec, so a child forked from a large process - an interpreter - starts
 * with that one's memory as its peak, and every small program would measure as large as bench/compare. This one is smaller
 * than anything it starts. The preload is set in the child alone. Children of the command that it waited for are counted
 * in: their times are added, their peaks compared.
 */
#include "bench.h"
#include <sys/resource.h>
#include <sys/wait.h>

static uint64_t microseconds(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_usec;
}

static void become(int report, const char *preload, char **command)
{
	if (*preload)
		setenv("LD_PRELOAD", preload, 1);
	else
		unsetenv("LD_PRELOAD");
	execvp(command[0], command);
	dprintf(report, "error cannot run %s: %s\n", command[0], strerror(errno));
	_exit(127);
}

int main(int argc, char **argv)
{
	uint64_t report = 0;
	if (argc < 4)
		fail("usage: meter DESCRIPTOR PRELOAD COMMAND [ARGUMENT]...");
	argument_set(&(struct argument){"descriptor", &report, 0, 1 << 20, ""}, argv[1]);
	if (fcntl((int)report, F_SETFD, FD_CLOEXEC))
		fail("descriptor %s: %s", argv[1], strerror(errno));

	uint64_t start = now_ns();
	pid_t child = fork();
	if (child < 0)
		fail("cannot fork: %s", strerror(errno));
	if (child == 0)
		become((int)report, argv[2], argv + 3);

	int status;
	struct rusage usage;
	while (wait4(child, &status, 0, &usage) < 0)
		if (errno != EINTR)
			fail("cannot wait: %s", strerror(errno));
	uint64_t wall_ns = now_ns() - start;

	dprintf((int)report, "%llu %llu %llu %ld %ld %d\n", (unsigned long long)wall_ns,
		(unsigned long long)microseconds(usage.ru_utime), (unsigned long long)microseconds(usage.ru_stime),
		usage.ru_maxrss, usage.ru_minflt, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}

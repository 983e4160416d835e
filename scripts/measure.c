/* Runs a program and writes what it cost to a file: wall seconds, CPU seconds, peak resident KiB of its largest process.
 * Small itself, because a child's peak counts what its parent had in memory when it forked.
 *
 *     measure FILE PROGRAM ARGUMENT...
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
	if (count < 3) {
		fprintf(stderr, "usage: measure FILE PROGRAM ARGUMENT...\n");
		return 2;
	}

	/* The program gets the preload, the measuring doesn't: see PRELOAD in scripts/demo. */
	const char *preload = getenv("PRELOAD");
	double start = now();
	pid_t child = fork();
	if (child == 0) {
		if (preload != NULL && *preload != 0)
			setenv("LD_PRELOAD", preload, 1);
		unsetenv("PRELOAD");
		execvp(arguments[2], arguments + 2);
		perror(arguments[2]);
		_exit(127);
	}

	int status;
	struct rusage usage;
	pid_t waited;
	do
		waited = wait4(child, &status, 0, &usage);
	while (waited == -1 && errno == EINTR);
	if (waited != child) {
		perror("measure");
		return 2;
	}

	FILE *file = fopen(arguments[1], "w");
	if (file == NULL || fprintf(file, "%.3f %.3f %ld\n", now() - start, seconds_of(usage.ru_utime) +
	                            seconds_of(usage.ru_stime), usage.ru_maxrss) < 0 || fclose(file) != 0) {
		perror(arguments[1]);
		return 2;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs a command and tells how it ended, in words that don't change from run to run:
 *
 *     verdict COMMAND ARGUMENTS...
 *
 *     ended: signal 6
 *     writes: 1
 *     quarry: free(PTR): double free: ...
 *       thread   TID (NAME)
 *
 * Standard error is a pipe in packet mode, so that each write(2) of the command is seen as one. */
#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 16];
static size_t length;

static const char *number_end(const char *digits, int (*is_digit)(int))
{
	while (is_digit((unsigned char)*digits))
		digits++;
	return digits;
}

static void print_without_values(const char *at)
{
	static const char thread[] = "  thread   ";

	while (*at != 0) {
		if (strncmp(at, "0x", 2) == 0) {
			printf("PTR");
			at = number_end(at + 2, isxdigit);
		} else if (strncmp(at, thread, strlen(thread)) == 0) {
			const char *line_end = strchr(at, '\n');
			const char *name = number_end(at + strlen(thread), isdigit);
			printf("%s%s%s", thread, name > at + strlen(thread) ? "TID" : "", *name == ' ' ? " (NAME)" : "");
			at = line_end != NULL ? line_end : at + strlen(at);
		} else {
			putchar(*at++);
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit no_core = { 0, 0 };
	int ends[2];
	int writes = 0;
	int status;

	if (argc < 2 || pipe2(ends, O_DIRECT) != 0)
		return 2;
	setrlimit(RLIMIT_CORE, &no_core);
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], 2);
		close(ends[0]);
		close(ends[1]);
		const char *preload = getenv("VERDICT_PRELOAD");
		if (preload != NULL)
			setenv("LD_PRELOAD", preload, 1);
		execvp(argv[1], argv + 1);
		perror(argv[1]);
		_exit(127);
	}
	close(ends[1]);
	ssize_t got;
	while (length < sizeof(text) - 1 && (got = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0) {
		length += (size_t)got;
		writes++;
	}
	if (waitpid(child, &status, 0) != child)
		return 2;
	if (WIFSIGNALED(status))
		printf("ended: signal %d\n", WTERMSIG(status));
	else
		printf("ended: exit %d\n", WEXITSTATUS(status));
	printf("writes: %d\n", writes);
	print_without_values(text);
	return 0;
}

/* A program and its reports: see watch.h.
 *
 * The reports are read while the program runs, by a thread: the pipe never fills up. When the program has ended, a line of
 * our own closes the stream, behind all that it has written; so nothing comes after this command has ended, and what the
 * program may have left running doesn't hold it up. That writes to standard error again: the pipe has no reader then. */
#include "tools/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/command.h"
#include "tools/symbolize.h"

/* Shells and programs number theirs from 0 up. */
#define DESCRIPTOR_MIN 200

static const char end_line[] = "quarry: end of reports\n";

static int read_end = -1;
static int write_end = -1;
static volatile pid_t program;

/* Terminals send these to the program as well. */
static const int ignored[] = { SIGINT, SIGQUIT };
static const int passed_on[] = { SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT };

char *watch_setting(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		return NULL;
	/* Not closed by exec: the program finds it by its number. */
	write_end = fcntl(ends[1], F_DUPFD, DESCRIPTOR_MIN);
	if (write_end < 0)
		write_end = fcntl(ends[1], F_DUPFD, 3);
	close(ends[1]);
	read_end = ends[0];
	return write_end < 0 ? NULL : format_text("report=/proc/self/fd/%d", write_end);
}

static void *reports_read(void *unused __attribute__((unused)))
{
	FILE *input = fdopen(read_end, "r");

	if (input != NULL)
		symbolize(input, stderr, end_line);
	return NULL;
}

static void pass_on(int number)
{
	int saved_errno = errno;

	if (program > 0)
		kill(program, number);
	errno = saved_errno;
}

static void signals_take(void (*others)(int), void (*terminal)(int))
{
	struct sigaction action = { .sa_handler = others, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaction(passed_on[i], &action, NULL);
	action.sa_handler = terminal;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		sigaction(ignored[i], &action, NULL);
}

static int program_wait(void)
{
	int status = 0;

	while (waitpid(program, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* As the program ended, for whoever waits for this command. Its core is the program's affair. */
static int end_as(int status)
{
	struct rlimit no_core = { 0, 0 };

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

int watch_program(const char *path, char **argv)
{
	struct sigaction before[NSIG];
	pthread_t reader;

	for (int i = 1; i < NSIG; i++)
		sigaction(i, NULL, &before[i]);
	signals_take(pass_on, SIG_IGN);
	program = fork();
	if (program < 0)
		fail(RUN_FAILED, "starting %s: %s", path, strerror(errno));
	if (program == 0) {
		for (int i = 1; i < NSIG; i++)
			sigaction(i, &before[i], NULL);
		execvp(path, argv);
		int error = errno;
		fail(error == ENOENT ? RUN_NOT_FOUND : RUN_NOT_EXECUTABLE, "%s: %s", path, strerror(error));
	}
	bool reading = pthread_create(&reader, NULL, reports_read, NULL) == 0;
	int status = program_wait();
	program = 0;
	if (reading && write(write_end, end_line, sizeof(end_line) - 1) > 0)
		pthread_join(reader, NULL);
	return end_as(status);
}

/* Programs that a thread of the library's, or its files, could get in the way of: `edges MODE` says "good", or what is
 * not. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "program.h"

static void say(const char *what)
{
	dprintf(1, "%s\n", what);
}

/* Enough calls for a heap of its own. */
static void *get_a_heap(void *rest_ms)
{
	void *blocks[300];

	for (int i = 0; i < 300; i++)
		blocks[i] = malloc(64);
	for (int i = 0; i < 300; i++)
		free(blocks[i]);
	sleep_ms((long)(size_t)rest_ms);
	return NULL;
}

static pthread_t second(long rest_ms)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, get_a_heap, (void *)(size_t)rest_ms) != 0)
		abort();
	return thread;
}

/* A thread came and went before the program blocks a signal, which it takes when it has the time. */
static void signal_waits(void)
{
	sigset_t set;
	int taken = 0;

	pthread_join(second(0), NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGTERM);
	sleep_ms(1500);
	sigwait(&set, &taken);
	say(taken == SIGTERM ? "good" : "another signal");
}

static volatile int trapped;

#ifdef __x86_64__
static void refuse(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	trapped++;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
}

/* From now on the call ends as `action` says. False if there is no seccomp. */
static bool forbid(unsigned call, unsigned action)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* A sandbox that answers calls itself. */
static void calls_are_trapped(void)
{
	struct sigaction action = { .sa_sigaction = refuse, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	if (!forbid(SYS_openat, SECCOMP_RET_TRAP)) {
		say("no seccomp");
		return;
	}
	pthread_join(second(300), NULL);
	say("good");
}

/* A sandbox that kills a child for asking which file a number is. */
static void child_in_a_sandbox(void)
{
	pthread_t thread = second(800);
	int status = 0;

	sleep_ms(300);
	if (!forbid(SYS_statx, SECCOMP_RET_KILL_PROCESS)) {
		say("no seccomp");
		_exit(0);
	}
	pid_t child = fork();
	if (child == 0) {
		free(malloc(100));
		_exit(0);
	}
	waitpid(child, &status, 0);
	say(status == 0 ? "good" : "the child was killed");
	_exit(0);
}
#else
static void calls_are_trapped(void) { say("no seccomp"); }
static void child_in_a_sandbox(void) { say("no seccomp"); }
#endif

/* However slow the decay, what is above what may be retained goes soon. */
static void excess_goes(void)
{
	pthread_t thread = second(60000);
	size_t bytes = (size_t)256 * MIB;

	sleep_ms(200);
	char *volatile block = malloc(bytes);
	memset(block, 1, bytes);
	free(block);
	for (int tries = 0; tries < 200; tries++) {
		if (resident() < bytes / 4) {
			say("good");
			_exit(0);
		}
		sleep_ms(100);
	}
	say("it is still there");
	_exit(0);
}

static volatile bool stop;

static void *fork_all_the_time(void *argument)
{
	while (!stop) {
		pid_t child = fork();
		if (child == 0)
			_exit(0);
		waitpid(child, NULL, 0);
	}
	return argument;
}

/* malloc_trim returns all, whoever forks. */
static void trim_and_fork(void)
{
	pthread_t thread;
	int left = 0;

	pthread_create(&thread, NULL, fork_all_the_time, NULL);
	for (int round = 0; round < 20; round++) {
		char *blocks[12], *walls[12];
		for (int i = 0; i < 12; i++) {
			blocks[i] = memset(malloc(8 * MIB), 1, 8 * MIB);
			walls[i] = malloc(40000);
		}
		for (int i = 0; i < 12; i++)
			free(blocks[i]);
		malloc_trim(0);
		left += resident() > 30 * MIB;
		for (int i = 0; i < 12; i++)
			free(walls[i]);
	}
	stop = true;
	pthread_join(thread, NULL);
	if (left == 0)
		say("good");
	else
		dprintf(1, "%d trims left much\n", left);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "signal-waits", signal_waits },         { "calls-are-trapped", calls_are_trapped },
		{ "child-in-a-sandbox", child_in_a_sandbox }, { "excess-goes", excess_goes },
		{ "trim-and-fork", trim_and_fork },
	};

	for (size_t i = 0; argc == 2 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0) {
			modes[i].run();
			return 0;
		}
	return 2;
}

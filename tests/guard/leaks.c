/* Programs that lose blocks, and good ones that look as if they did; run by leaks.sh. `leaks MODE [LIBRARY]`. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
	struct node *next;
	char more[24];
};

static const char *library_path;
static void *volatile global;
static _Thread_local void *volatile local;

/* Overwrites what calls have left on the stack, so that no pointer is there by chance. */
__attribute__((noinline)) static void forget(void)
{
	char bytes[32768];

	memset(bytes, 0, sizeof(bytes));
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

__attribute__((noinline)) static void lose(size_t size)
{
	volatile char *block = malloc(size);

	block[0] = 1;
}

static struct node *list_make(int count)
{
	struct node *list = NULL;

	while (count-- > 0) {
		struct node *node = malloc(sizeof(*node));
		node->next = list;
		list = node;
	}
	return list;
}

/* ---- Lost */

static void lost(void)
{
	for (size_t i = 0; i < 3; i++)
		lose(100 + i);
}

__attribute__((noinline)) static void chain(void)
{
	volatile struct node *list = list_make(5);
	(void)list;
}

__attribute__((noinline)) static void ring(void)
{
	struct node *list = list_make(3);

	list->next->next->next = list;
}

__attribute__((noinline)) static void itself(void)
{
	struct node *node = list_make(1);

	node->next = node;
}

static void inside(void)
{
	global = (char *)malloc(64) + 8;
}

/* A block that is reached from the inside leads to others. */
static void inside_list(void)
{
	global = (char *)list_make(4) + 16;
}

__attribute__((noinline)) static void freed_holder(void)
{
	void **holder = malloc(sizeof(*holder));

	*holder = malloc(48);
	free(holder);
}

static void *lose_in_thread(void *unused)
{
	lose(200);
	forget();
	return unused;
}

static void thread(void)
{
	pthread_t thread;

	for (int i = 0; i < 2; i++) {
		pthread_create(&thread, NULL, lose_in_thread, NULL);
		pthread_join(thread, NULL);
	}
}

static void *lose_and_wait(void *ready)
{
	lose(200);
	forget();
	pthread_barrier_wait(ready);
	for (;;)
		pause();
}

static void thread_alive(void)
{
	static pthread_barrier_t ready;
	pthread_t thread;

	pthread_barrier_init(&ready, NULL, 2);
	pthread_create(&thread, NULL, lose_and_wait, &ready);
	pthread_barrier_wait(&ready);
}

/* The parent loses 100 bytes, the child 300. */
static void forked(void)
{
	lose(100);
	forget();
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		lose(300);
	else
		waitpid(child, NULL, 0);
}

static void *call(void *library, const char *name)
{
	void *(*function)(void) = (void *(*)(void))(uintptr_t)dlsym(library, name);

	return function();
}

__attribute__((noinline)) static void unload(void)
{
	void *library = dlopen(library_path, RTLD_NOW);

	call(library, "library_keep");
	dlclose(library);
}

/* Blocks that are not guarded (guard_sizes=40-60 in leaks.sh) lead to one that is. */
static void through(size_t size, size_t offset)
{
	char *holder = malloc(size);

	*(void **)(void *)(holder + offset) = malloc(50);
	global = holder;
}
static void through_small(void) { through(1000, 504); }
static void through_large(void) { through(1 << 20, 700000); }
__attribute__((noinline)) static void through_lost(void) { through_small(); global = NULL; }

/* ---- Not lost */

static void good(void) { global = malloc(100); }
static void list(void) { global = list_make(1000); }

static void tls(void) { local = malloc(100); }

static void *wait_for_ever(void *ready)
{
	forget();
	pthread_barrier_wait(ready);
	for (;;)
		pause();
}

static void *tls_thread(void *ready)
{
	local = malloc(100);
	return wait_for_ever(ready);
}

static pthread_key_t keys[100];

static void *keys_thread(void *ready)
{
	for (size_t i = 0; i < 100; i++)
		pthread_setspecific(keys[i], malloc(i + 1));
	return wait_for_ever(ready);
}

/* The library's thread-local variables are dynamic. */
static void *dynamic_thread(void *ready)
{
	void *library = dlopen(library_path, RTLD_NOW);

	call(library, "library_keep_tls");
	return wait_for_ever(ready);
}

static void threads(void *(*run)(void *))
{
	static pthread_barrier_t ready;
	pthread_t thread;

	pthread_barrier_init(&ready, NULL, 4);
	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, run, &ready);
	pthread_barrier_wait(&ready);
}

static void tls_threads(void) { threads(tls_thread); }
static void tls_dynamic_threads(void) { threads(dynamic_thread); }
static void key_threads(void)
{
	for (size_t i = 0; i < 100; i++)
		pthread_key_create(&keys[i], NULL);
	threads(keys_thread);
}

static int waits, blocks_signals;
static _Atomic int holding;

/* Keeps a block in a register and nowhere else, in a system call or without any. */
static void *hold(void *unused)
{
#if defined(__x86_64__)
	if (blocks_signals) {
		sigset_t all;
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, NULL);
	}
	register void *block __asm__("r12") = malloc(100);
	__asm__ volatile("" : "+r"(block));
	forget();
	holding++;
	if (waits) {
		static const struct { long seconds, more; } time = { 100, 0 };
		register long result __asm__("rax") = 35; /* nanosleep */
		__asm__ volatile("syscall" : "+r"(result) : "D"(&time), "S"(0), "r"(block) : "rcx", "r11", "memory");
	}
	for (;;)
		__asm__ volatile("pause" : "+r"(block));
#endif
	return unused;
}

static void registers(void)
{
	pthread_t thread;

	for (int i = 0; i < 2; i++)
		pthread_create(&thread, NULL, hold, NULL);
#if defined(__x86_64__)
	while (holding < 2)
		usleep(1000);
	usleep(50000);
#endif
}
static void registers_waiting(void) { waits = 1; registers(); }
static void registers_deaf(void) { blocks_signals = 1; registers(); }

static void mapped(void)
{
	void **page = mmap(NULL, 1 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	void **shared = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void **sealed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	page[100000000] = malloc(100);
	shared[12345] = malloc(100);
	sealed[1] = malloc(100);
	mprotect(sealed, 4096, PROT_READ);
}

/* A mapping with inaccessible pages inside, where the kernel has such. */
static void holes(void)
{
	char *pages = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(pages, 1, 16 * 4096);
	madvise(pages + 4096, 4096, 102);
	madvise(pages + 7 * 4096, 4096, 102);
	*(void **)(void *)(pages + 9 * 4096) = malloc(100);
}

/* Many threads at it while they are looked at. */
static void *churn(void *unused)
{
	struct node *kept[16] = { 0 };

	for (unsigned i = 0;; i = (i + 7) % 16) {
		free(kept[i]);
		kept[i] = malloc(32 + i);
		kept[i]->next = i % 2 != 0 ? NULL : realloc(malloc(40), 80);
		free(kept[i]->next);
		kept[i]->next = NULL;
	}
	return unused;
}

static int64_t check(void)
{
	int64_t (*leak_check)(void) = (int64_t (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, "quarry_leak_check");

	return leak_check != NULL ? leak_check() : -2;
}

static void busy(void)
{
	pthread_t thread;
	int64_t most = 0;

	for (int i = 0; i < 3; i++)
		pthread_create(&thread, NULL, churn, NULL);
	for (int i = 0; i < 30; i++) {
		int64_t lost = check();
		most = lost > most ? lost : most;
		usleep(2000);
	}
	printf("%d\n", (int)most);
}

static int ends[2];
static _Atomic int reads;

static void *read_once(void *unused)
{
	char byte;

	reads = 1;
	reads = read(ends[0], &byte, 1) == 1 ? 2 : 3;
	return unused;
}

static int caught;
static void on_signal(int number) { caught = number; }

/* Calls it in the middle: a read that waits goes on, the program's own signals are its own. */
static void asked(void)
{
	pthread_t thread;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		if (number != SIGRTMIN + 5)
			signal(number, on_signal);
	if (pipe(ends) != 0)
		return;
	pthread_create(&thread, NULL, read_once, NULL);
	while (reads == 0)
		usleep(1000);
	usleep(20000);
	lose(100);
	lose(100);
	forget();
	int first = (int)check();
	int second = (int)check();
	if (write(ends[1], "x", 1) != 1)
		return;
	pthread_join(thread, NULL);
	printf("lost %d, %d; read %d; caught %d\n", first, second, reads, caught);
}

static void late(void) { printf("late\n"); }

static void status(void)
{
	atexit(late);
	lose(100);
	printf("buffered\n");
}

static void without_stderr(void)
{
	lose(100);
	close(2);
}

static void without_files(void)
{
	lose(100);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, 0 });
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "lost", lost }, { "chain", chain }, { "ring", ring }, { "itself", itself }, { "inside", inside },
	{ "inside_list", inside_list }, { "freed_holder", freed_holder }, { "thread", thread },
	{ "thread_alive", thread_alive }, { "forked", forked }, { "unload", unload }, { "through_small", through_small },
	{ "through_large", through_large }, { "through_lost", through_lost }, { "good", good }, { "list", list }, { "tls", tls },
	{ "tls_threads", tls_threads }, { "tls_dynamic_threads", tls_dynamic_threads }, { "key_threads", key_threads },
	{ "registers", registers }, { "registers_waiting", registers_waiting }, { "registers_deaf", registers_deaf },
	{ "mapped", mapped }, { "holes", holes }, { "busy", busy }, { "asked", asked }, { "status", status },
	{ "without_stderr", without_stderr }, { "without_files", without_files },
};

int main(int count, char **arguments)
{
	library_path = count > 2 ? arguments[2] : NULL;
	for (size_t i = 0; count > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(arguments[1], modes[i].name) == 0) {
			modes[i].run();
			forget();
			return count > 3 ? atoi(arguments[3]) : 0;
		}
	return 99;
}

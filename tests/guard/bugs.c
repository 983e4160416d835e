/* One small bug per row: `bugs ROW` commits it under guard mode. What each row's report must say stands in bugs.sh.
 *
 * Functions are exported and not inlined: the report names them by the dynamic symbols. A block of SIZE bytes has some
 * bytes between it and its guard where it is aligned to 16. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 100
#define PAGE 4096
#define NAMED __attribute__((noinline, noclone, externally_visible))
/* A call in tail position would leave no frame. */
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

static volatile char sink;
static char *volatile shared;
static char global[64];
static char text[4 * SIZE];

/* ---- What the stacks are made of ---- */

NAMED char *make(size_t size)
{
	char *block = malloc(size);
	KEEP_FRAME();
	return block;
}

NAMED void drop(void *block)
{
	free(block);
	KEEP_FRAME();
}

NAMED void drop_again(void *block)
{
	free(block);
	KEEP_FRAME();
}

NAMED char *grow(void *block, size_t size)
{
	char *grown = realloc(block, size);
	KEEP_FRAME();
	return grown;
}

NAMED void write_byte(volatile char *at) { *at = 1; }
NAMED void read_byte(volatile char *at) { sink = *at; }
NAMED void write_word(volatile uint64_t *at) { *at = 0; }
NAMED void read_word(volatile uint64_t *at) { sink = (char)*at; }

/* ---- Beyond the ends ---- */

#define ROW(name) NAMED void row_##name(void)

ROW(abort) { abort(); }

static void beyond(void (*touch)(volatile char *), ptrdiff_t offset)
{
	char *block = make(SIZE);
	touch(block + offset);
	drop(block);
}

static void beyond_by_word(void (*touch)(volatile uint64_t *), ptrdiff_t offset)
{
	char *block = make(SIZE);
	touch((volatile uint64_t *)(block + offset));
	drop(block);
}

ROW(good) { beyond(write_byte, SIZE - 1); }
ROW(write_1) { beyond(write_byte, SIZE); }
ROW(read_1) { beyond(read_byte, SIZE); }
ROW(write_8) { beyond_by_word(write_word, SIZE); }
ROW(read_8) { beyond_by_word(read_word, SIZE); }
ROW(write_last) { beyond(write_byte, SIZE + 11); }
ROW(write_guard) { beyond(write_byte, SIZE + 12); }
ROW(read_guard) { beyond(read_byte, SIZE + 12); }
ROW(write_page) { beyond(write_byte, SIZE + PAGE - 1); }
ROW(read_page) { beyond(read_byte, SIZE + PAGE - 1); }
ROW(write_before) { beyond(write_byte, -1); }
ROW(read_before) { beyond(read_byte, -1); }
ROW(write_before_8) { beyond_by_word(write_word, -8); }
ROW(write_far_before) { beyond(write_byte, -4000); }
ROW(read_far_before) { beyond(read_byte, -4000); }

/* Neighbours are named; the one below is nearer to the address than the block's own end may be. */
static void between(void (*touch)(volatile char *), ptrdiff_t offset)
{
	char *below = make(24);
	char *block = make(SIZE);
	char *above = make(48);
	touch(block + offset);
	drop(below);
	drop(block);
	drop(above);
}

ROW(between_before) { between(read_byte, -4000); }
ROW(between_behind) { between(read_byte, SIZE + 40); }

ROW(large)
{
	char *block = make(1000000);
	write_byte(block + 1000000);
	drop(block);
}

ROW(nothing)
{
	char *block = make(0);
	write_byte(block);
	drop(block);
}

NAMED char *make_aligned(void)
{
	char *block = memalign(PAGE, SIZE);
	KEEP_FRAME();
	return block;
}

ROW(aligned)
{
	char *block = make_aligned();
	write_byte(block + SIZE);
	drop(block);
}

NAMED char *make_zeroed(void)
{
	char *block = calloc(25, 4);
	KEEP_FRAME();
	return block;
}

ROW(zeroed)
{
	char *block = make_zeroed();
	for (int i = 0; i < SIZE; i++)
		if (block[i] != 0)
			_exit(3);
	write_byte(block + SIZE);
	drop(block);
}

/* ---- By the C library, and by the kernel ---- */

NAMED void copy(char *block, size_t bytes)
{
	memcpy(block, text, bytes);
	KEEP_FRAME();
}

NAMED void copy_string(char *block, size_t length)
{
	memset(text, 'x', length);
	text[length] = 0;
	strcpy(block, text);
	KEEP_FRAME();
}

ROW(memcpy)
{
	char *block = make(SIZE);
	copy(block, 2 * SIZE);
	drop(block);
}

ROW(strcpy)
{
	char *block = make(SIZE);
	copy_string(block, 2 * SIZE);
	drop(block);
}

ROW(strcpy_1)
{
	char *block = make(SIZE);
	copy_string(block, SIZE);
	drop(block);
}

/* The kernel doesn't fault: it says so. */
static void read_into(char *block, size_t bytes)
{
	int ends[2];

	if (pipe(ends) != 0 || write(ends[1], text, sizeof(text)) != sizeof(text))
		_exit(3);
	ssize_t got = read(ends[0], block, bytes);
	if (got < 0 && errno == EFAULT)
		printf("EFAULT\n");
	else
		printf("%zd bytes\n", got);
	fflush(stdout);
}

ROW(read_short)
{
	char *block = make(SIZE);
	read_into(block, 2 * SIZE);
	drop(block);
}

ROW(read_freed)
{
	char *block = make(SIZE);
	drop(block);
	read_into(block, SIZE);
}

/* ---- After the free ---- */

static char *freed(size_t size)
{
	char *block = make(size);
	memset(block, 'x', size);
	drop(block);
	return block;
}

static void other_frees(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *volatile block = malloc(24);
		free(block);
	}
}

ROW(freed_read) { read_byte(freed(SIZE) + 40); }
ROW(freed_write) { write_byte(freed(SIZE) + 40); }
ROW(freed_read_word) { read_word((volatile uint64_t *)(void *)(freed(SIZE) + 8)); }
ROW(freed_large_read) { read_byte(freed(1000000) + 500000); }

ROW(freed_read_later)
{
	char *block = freed(SIZE);
	other_frees(1000000);
	read_byte(block + 40);
}

ROW(freed_write_later)
{
	char *block = freed(SIZE);
	other_frees(1000000);
	write_byte(block);
}

ROW(double_free) { drop_again(freed(SIZE)); }

ROW(double_free_later)
{
	char *block = freed(SIZE);
	other_frees(1000);
	drop_again(block);
}

ROW(usable_size)
{
	char *block = freed(SIZE);
	sink = (char)malloc_usable_size(block);
	KEEP_FRAME();
}

/* ---- Wrong pointers ---- */

ROW(interior) { drop(make(SIZE) + 16); }
ROW(interior_odd) { drop(make(SIZE) + 1); }
ROW(interior_large) { drop(make(1000000) + PAGE); }
ROW(interior_freed) { drop_again(freed(SIZE) + 16); }
ROW(behind) { drop(make(SIZE) + 12 + SIZE); }
ROW(never) { drop(make(SIZE) + ((uintptr_t)1 << 30)); }

ROW(stack)
{
	char local[64];
	shared = local;
	drop(shared);
}

ROW(global)
{
	shared = global;
	drop(shared);
}

ROW(code)
{
	shared = (char *)(uintptr_t)row_code;
	drop(shared);
}

/* Between pages that are zero: no other allocator's block starts here. */
ROW(mapped)
{
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	drop(pages + PAGE);
}

ROW(mapped_realloc)
{
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	grow(pages + PAGE, SIZE);
}

/* ---- realloc ---- */

ROW(realloc_freed) { grow(freed(SIZE), 2 * SIZE); }
ROW(realloc_interior) { grow(make(SIZE) + 8, 2 * SIZE); }

ROW(realloc_stale)
{
	char *block = make(SIZE);
	grow(block, 2 * SIZE);
	read_byte(block + 10);
}

ROW(realloc_stale_free)
{
	char *block = make(SIZE);
	grow(block, 2 * SIZE);
	drop(block);
}

ROW(realloc_zero)
{
	char *block = make(SIZE);
	grow(block, 0);
	drop(block);
}

ROW(realloc_shrunk)
{
	char *block = grow(make(SIZE), SIZE / 2);
	write_byte(block + SIZE / 2);
	drop(block);
}

ROW(realloc_overflown)
{
	char *block = make(SIZE);
	write_byte(block + SIZE);
	grow(block, 2 * SIZE);
}

/* ---- Elsewhere than in main ---- */

NAMED void *thread_main(void *argument)
{
	pthread_setname_np(pthread_self(), "worker");
	if (argument != NULL)
		write_byte((char *)argument + 40);
	else
		drop_again(shared);
	return argument;
}

static void in_thread(void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, thread_main, argument) != 0)
		_exit(3);
	pthread_join(thread, NULL);
}

ROW(thread_write) { in_thread(freed(SIZE)); }

ROW(thread_free)
{
	shared = freed(SIZE);
	in_thread(NULL);
}

NAMED void on_signal(int number)
{
	(void)number;
	write_byte(shared + 40);
}

NAMED void on_signal_free(int number)
{
	(void)number;
	drop_again(shared);
}

static void in_handler(void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	stack_t stack = { .ss_sp = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		          .ss_size = 1 << 16 };

	if (flags != 0)
		sigaltstack(&stack, NULL);
	shared = freed(SIZE);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	KEEP_FRAME();
}

ROW(handler_write) { in_handler(on_signal, 0); }
ROW(handler_free) { in_handler(on_signal_free, 0); }
ROW(handler_own_stack) { in_handler(on_signal, SA_ONSTACK); }

static void in_child(void (*body)(void))
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		body();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status))
		_exit(3);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
}

NAMED void child_write(void) { write_byte(shared + 40); KEEP_FRAME(); }
NAMED void child_free(void) { drop_again(shared); KEEP_FRAME(); }
NAMED void child_overflow(void) { write_byte(shared + SIZE); drop(shared); KEEP_FRAME(); }

ROW(fork_write)
{
	shared = freed(SIZE);
	in_child(child_write);
}

ROW(fork_free)
{
	shared = freed(SIZE);
	in_child(child_free);
}

ROW(fork_overflow)
{
	shared = make(SIZE);
	in_child(child_overflow);
}

NAMED void at_exit(void) { read_byte(shared); KEEP_FRAME(); }

ROW(exit_read)
{
	shared = freed(SIZE);
	atexit(at_exit);
	exit(0);
}

/* Nobody frees it: the last look finds it. */
ROW(exit_overflow)
{
	shared = make(SIZE);
	write_byte(shared + SIZE + 3);
	exit(0);
}

ROW(exit_underflow)
{
	shared = make(SIZE);
	write_byte(shared - 5);
	exit(0);
}

/* ---- Which ---- */

#define ROWS(X) \
	X(abort) X(good) X(write_1) X(read_1) X(write_8) X(read_8) X(write_last) X(write_guard) X(read_guard) X(write_page) \
	X(read_page) X(write_before) X(read_before) X(write_before_8) X(write_far_before) X(read_far_before) X(between_before) \
	X(between_behind) X(large) \
	X(nothing) X(aligned) X(zeroed) X(memcpy) X(strcpy) X(strcpy_1) X(read_short) X(read_freed) X(freed_read) \
	X(freed_write) X(freed_read_word) X(freed_large_read) X(freed_read_later) X(freed_write_later) X(double_free) \
	X(double_free_later) X(usable_size) X(interior) X(interior_odd) X(interior_large) X(interior_freed) X(behind) \
	X(never) X(stack) X(global) X(code) X(mapped) X(mapped_realloc) X(realloc_freed) X(realloc_interior) \
	X(realloc_stale) X(realloc_stale_free) X(realloc_zero) X(realloc_shrunk) X(realloc_overflown) X(thread_write) \
	X(thread_free) X(handler_write) X(handler_free) X(handler_own_stack) X(fork_write) X(fork_free) X(fork_overflow) \
	X(exit_read) X(exit_overflow) X(exit_underflow)

static const struct {
	const char *name;
	void (*body)(void);
} rows[] = {
#define X(name) { #name, row_##name },
	ROWS(X)
#undef X
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (argc < 2) {
			puts(rows[i].name);
		} else if (strcmp(rows[i].name, argv[1]) == 0) {
			rows[i].body();
			return 0;
		}
	}
	return argc < 2 ? 0 : 2;
}

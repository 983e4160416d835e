/* glibc's malloc behind a counter of the bytes that a program has asked for and not yet freed.
 *
 * Preloaded by bench/compare for the column "live": the least memory that any allocator could need for the program's
 * blocks. Every block carries a header, so no pointer has to be looked up:
 *
 *      base: what glibc gave | ... | bytes | base | block asked for ...
 *                                   16 bytes before a multiple of the alignment
 *
 * The peak stands in a file, mapped shared, that QUARRY_BENCH_LIVE_FILE names: it survives _exit, exec and signals, and
 * of several processes the largest counts, as with the peak of resident memory. A forked child starts with its parent's
 * blocks, which it has.
 */
#include "limits.h"

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);
void __libc_free(void *block);

struct header {
	size_t bytes; /* as the program asked */
	void *base;   /* as glibc gave */
};

static _Atomic size_t live_bytes;
static _Atomic size_t own_peak;              /* until the file is there */
static _Atomic(_Atomic size_t *) file_peak;  /* the file's one word, stored once by open_file */

static struct header *header_of(void *block)
{
	return (struct header *)block - 1;
}

static void raise_to(_Atomic size_t *peak, size_t bytes)
{
	size_t seen = atomic_load_explicit(peak, memory_order_relaxed);
	while (seen < bytes && !atomic_compare_exchange_weak_explicit(peak, &seen, bytes, memory_order_relaxed,
								       memory_order_relaxed))
		;
}

static void count(size_t more, size_t less)
{
	/* Modulo 2^64, so that taking away needs no case of its own. */
	size_t now = atomic_fetch_add_explicit(&live_bytes, more - less, memory_order_relaxed) + more - less;
	if (more <= less)
		return;
	_Atomic size_t *file = atomic_load_explicit(&file_peak, memory_order_acquire);
	raise_to(file ? file : &own_peak, now);
}

__attribute__((constructor)) static void open_file(void)
{
	const char *path = getenv("QUARRY_BENCH_LIVE_FILE");
	int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *word = mmap(NULL, sizeof(size_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (word == MAP_FAILED)
		return;
	atomic_store_explicit(&file_peak, word, memory_order_release); /* pairs with the load in count */
	raise_to(word, atomic_load_explicit(&own_peak, memory_order_relaxed));
}

/* Room for a block and its header, or SIZE_MAX where there can be none. */
static size_t with_header(size_t alignment, size_t bytes)
{
	size_t spare = sizeof(struct header) + (alignment > LEAST_ALIGNMENT ? alignment : 0);
	return bytes > PTRDIFF_MAX - spare ? SIZE_MAX : bytes + spare;
}

static void *give(void *base, size_t alignment, size_t bytes)
{
	if (!base)
		return NULL;
	void *block = (void *)round_up((uintptr_t)base + sizeof(struct header), alignment);
	*header_of(block) = (struct header){bytes, base};
	count(bytes, 0);
	return block;
}

void *aligned_take(size_t alignment, size_t bytes)
{
	return give(__libc_malloc(with_header(alignment, bytes)), alignment, bytes);
}

EXPORT void *malloc(size_t bytes)
{
	return aligned_take(LEAST_ALIGNMENT, bytes);
}

EXPORT void free(void *block)
{
	if (!block)
		return;
	count(0, header_of(block)->bytes);
	__libc_free(header_of(block)->base);
}

EXPORT void *calloc(size_t number, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(number, bytes, &total))
		total = SIZE_MAX;
	return give(__libc_calloc(1, with_header(LEAST_ALIGNMENT, total)), LEAST_ALIGNMENT, total);
}

EXPORT void *realloc(void *block, size_t bytes)
{
	if (!block)
		return malloc(bytes);
	if (bytes == 0) { /* as glibc does */
		free(block);
		return NULL;
	}
	struct header old = *header_of(block);
	if (old.base == header_of(block)) {
		struct header *base = __libc_realloc(old.base, with_header(LEAST_ALIGNMENT, bytes));
		if (!base)
			return NULL;
		*base = (struct header){bytes, base};
		count(bytes, old.bytes);
		return base + 1;
	}
	void *grown = malloc(bytes);
	if (grown) {
		memcpy(grown, block, old.bytes < bytes ? old.bytes : bytes);
		free(block);
	}
	return grown;
}

EXPORT size_t malloc_usable_size(void *block)
{
	return block ? header_of(block)->bytes : 0;
}

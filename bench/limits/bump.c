/* A malloc that only moves a pointer forward and never frees: what the rest of a program costs, and fresh memory with it.
 *
 * Preloaded by bench/compare for the column "bump": a limit to hold times against, no allocator to use. It is not quite a
 * lower bound: a block that comes back is warm in the caches, fresh memory never is. Each thread takes blocks from a
 * chunk of its own, so there is no sharing and no lock.
 *
 *      chunk   | .. taken .. | bytes | block ........ | bytes | block ... |   free   |
 *                            8 before a multiple of 16                     ^ at       ^ end
 *
 * The size before a block is there for realloc alone. QUARRY_BENCH_BUMP_BYTES limits what a process may map; at the limit
 * the process ends with status EXIT_FULL, because a program's way of bearing NULL would be measured otherwise.
 */
#include "limits.h"

enum { HEADER_BYTES = sizeof(size_t), CHUNK_BYTES = 4 << 20, EXIT_FULL = 125 };

static _Thread_local uintptr_t at __attribute__((tls_model("initial-exec")));
static _Thread_local uintptr_t end __attribute__((tls_model("initial-exec")));
static _Atomic size_t mapped_bytes;
static _Atomic size_t limit_bytes; /* 0: not read yet */

static size_t limit_read(void)
{
	size_t limit = atomic_load_explicit(&limit_bytes, memory_order_relaxed);
	if (limit == 0) {
		const char *text = environ ? getenv("QUARRY_BENCH_BUMP_BYTES") : NULL;
		limit = text ? strtoull(text, NULL, 10) : SIZE_MAX;
		if (environ) /* the loader's own first blocks come before there is an environment */
			atomic_store_explicit(&limit_bytes, limit, memory_order_relaxed);
	}
	return limit;
}

static void *map_counted(size_t bytes)
{
	static const char full[] = "bump: the memory for never freeing is used up\n";
	size_t before = atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed);
	void *memory = before > limit_read() || bytes > limit_read() - before
	                   ? MAP_FAILED
	                   : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		if (write(STDERR_FILENO, full, sizeof full - 1) < 0)
			_exit(EXIT_FULL + 1);
		_exit(EXIT_FULL);
	}
	return memory;
}

static size_t *header_of(void *block)
{
	return (size_t *)block - 1;
}

/* alignment: a power of two of 16 or more. */
static void *take(size_t alignment, size_t bytes)
{
	if (bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX - bytes - HEADER_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	uintptr_t block = round_up(at + HEADER_BYTES, alignment);
	if (at == 0 || block > end || bytes > end - block) {
		size_t wanted = bytes + alignment + HEADER_BYTES;
		if (wanted > CHUNK_BYTES / 4) { /* large: a mapping of its own, and the chunk stays */
			block = round_up((uintptr_t)map_counted(wanted) + HEADER_BYTES, alignment);
			*header_of((void *)block) = bytes;
			return (void *)block;
		}
		at = (uintptr_t)map_counted(CHUNK_BYTES);
		end = at + CHUNK_BYTES;
		block = round_up(at + HEADER_BYTES, alignment);
	}
	*header_of((void *)block) = bytes;
	at = block + bytes;
	return (void *)block;
}

EXPORT void *malloc(size_t bytes)
{
	return take(LEAST_ALIGNMENT, bytes);
}

EXPORT void free(void *block)
{
	(void)block;
}

EXPORT void *calloc(size_t count, size_t bytes)
{
	size_t total;
	if (__builtin_mul_overflow(count, bytes, &total))
		total = SIZE_MAX;
	return take(LEAST_ALIGNMENT, total); /* never used before, hence zero */
}

EXPORT void *realloc(void *block, size_t bytes)
{
	if (!block)
		return malloc(bytes);
	size_t old_bytes = *header_of(block);
	if ((uintptr_t)block + old_bytes == at && bytes <= end - (uintptr_t)block && bytes >= old_bytes) {
		at = (uintptr_t)block + bytes; /* the newest of this thread grows where it is */
		*header_of(block) = bytes;
		return block;
	}
	if (bytes <= old_bytes)
		return block;
	void *grown = malloc(bytes);
	if (grown)
		memcpy(grown, block, old_bytes);
	return grown;
}

EXPORT size_t malloc_usable_size(void *block)
{
	return block ? *header_of(block) : 0;
}

void *aligned_take(size_t alignment, size_t bytes)
{
	return take(alignment, bytes);
}

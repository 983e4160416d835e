/* Words of the compiler under names of our own; included by everything. */
#ifndef QUARRY_BASE_COMPILER_H
#define QUARRY_BASE_COMPILER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))
#define ALIGNED(bytes) __attribute__((aligned(bytes)))
#define HIDDEN __attribute__((visibility("hidden")))
#define UNUSED __attribute__((unused))

/* One line of cache on every machine we know well; only speed depends on it. */
#define CACHE_LINE_BYTES ((size_t)64)

#if defined(__x86_64__)
#define cpu_relax() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax() __asm__ volatile("isb" ::: "memory")
#else
#define cpu_relax() __asm__ volatile("" ::: "memory")
#endif

/* A relaxed load, for the hot paths, of an _Atomic object whose value is used exactly once. gcc (12) never folds an
 * atomic load into the instruction that uses it; a plain load it does, and on every machine we know an aligned plain
 * load is one access. clang folds both, and ThreadSanitizer must see the atomic one. */
#if defined(__clang__) || defined(__SANITIZE_THREAD__)
#define LOAD_ONCE(object) __extension__({ \
	__auto_type pointer_ = &(object); \
	atomic_load_explicit(pointer_, memory_order_relaxed); \
})
#else
#define LOAD_ONCE(object) (*(const __typeof__((__typeof__(object))0) *)(const void *)&(object))
#endif

/* Functions that look at a type-stable descriptor while others may be making it anew: what they read may be stale, is
 * checked or harmless, and is not to be reported as a race. */
#if defined(__SANITIZE_THREAD__) || defined(__clang__)
#define READS_STALE __attribute__((no_sanitize("thread")))
#else
#define READS_STALE
#endif

/* The largest page of the architecture: what is sealed must not share a page with anything else. */
#if defined(__x86_64__) && !defined(QUARRY_PAGE_BYTES)
#define SEAL_ALIGNMENT 4096
#else
#define SEAL_ALIGNMENT 65536
#endif

/* The structure that `member` at `pointer` belongs to. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif

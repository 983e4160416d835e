/* Quarry's public interface: the allocator under its own names, and what the C library's malloc has no name for.
 *
 * Link with -lquarry (shared or static; malloc, free and operator new are then Quarry's too), or with -lquarry-core
 * (these names only; malloc stays the C library's).
 *
 * Unless a comment says otherwise: sizes are bytes, every function may be called from any thread at any time, none
 * may be called from a signal handler that interrupted one of them, and a resource that runs out gives NULL with
 * errno set to ENOMEM. errno is left alone on success. All functions exist since version 0.1.
 */
#ifndef QUARRY_QUARRY_H
#define QUARRY_QUARRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUARRY_VERSION_MAJOR 0
#define QUARRY_VERSION_MINOR 1
#define QUARRY_VERSION_PATCH 0

#define QUARRY_VERSION_TEXT_(major, minor, patch) #major "." #minor "." #patch
#define QUARRY_VERSION_TEXT__(major, minor, patch) QUARRY_VERSION_TEXT_(major, minor, patch)
#define QUARRY_VERSION QUARRY_VERSION_TEXT__(QUARRY_VERSION_MAJOR, QUARRY_VERSION_MINOR, QUARRY_VERSION_PATCH)

#if defined(__GNUC__)
#define QUARRY_EXPORT __attribute__((visibility("default")))
#define QUARRY_MALLOC __attribute__((malloc, warn_unused_result))
#define QUARRY_SIZE(n) __attribute__((alloc_size(n)))
#define QUARRY_SIZE2(n, m) __attribute__((alloc_size(n, m)))
#else
#define QUARRY_EXPORT
#define QUARRY_MALLOC
#define QUARRY_SIZE(n)
#define QUARRY_SIZE2(n, m)
#endif

/* ---- The C library's functions under Quarry's names; same contracts as malloc(3), posix_memalign(3). ---- */

/* At least `size` bytes, aligned to 16. size 0 gives a unique block. Above PTRDIFF_MAX: NULL, ENOMEM. */
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE(1) void *quarry_malloc(size_t size);

/* `count` times `size` bytes, all zero. An overflowing product: NULL, ENOMEM. */
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE2(1, 2) void *quarry_calloc(size_t count, size_t size);

/* Changes a block's size, moving it if needed; contents are kept up to the smaller size. realloc(NULL, n) is
 * malloc(n); realloc(p, 0) frees p and returns NULL, as glibc does. On failure the old block is untouched. */
QUARRY_EXPORT QUARRY_SIZE(2) void *quarry_realloc(void *block, size_t size);
QUARRY_EXPORT QUARRY_SIZE2(2, 3) void *quarry_reallocarray(void *block, size_t count, size_t size);

/* Frees a block; NULL is allowed. errno is preserved. A pointer that is not the start of a live block is reported
 * on standard error and the process aborts; for a pointer outside Quarry's memory see the option `foreign`. */
QUARRY_EXPORT void quarry_free(void *block);

/* C23: like quarry_free. `size` and `alignment` are what the block was asked for with. They are not trusted, and checked in guard mode only: a
 * wrong value does no harm. */
QUARRY_EXPORT void quarry_free_sized(void *block, size_t size);
QUARRY_EXPORT void quarry_free_aligned_sized(void *block, size_t alignment, size_t size);

/* `alignment`: a power of two. aligned_alloc and memalign follow glibc 2.36: another value is rounded up to the
 * next power of two; one above SIZE_MAX / 2 + 1 gives NULL, EINVAL. posix_memalign returns EINVAL unless the
 * alignment is a power of two and a multiple of sizeof(void *), ENOMEM if memory is short, and leaves errno alone. */
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE(2) void *quarry_aligned_alloc(size_t alignment, size_t size);
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE(2) void *quarry_memalign(size_t alignment, size_t size);
QUARRY_EXPORT int quarry_posix_memalign(void **block, size_t alignment, size_t size);
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE(1) void *quarry_valloc(size_t size);  /* aligned to a page */
QUARRY_EXPORT QUARRY_MALLOC void *quarry_pvalloc(size_t size);                /* and rounded up to whole pages */

/* ---- Secrets ---- */

/* Memory for keys and passwords, zeroed: locked in memory, in no core dump, zeros in a fork's child, between two inaccessible
 * pages (the end of the block, rounded up to 16, touches one). Each block takes whole pages, three mappings and half a dozen
 * system calls: there are at most 1,024 at a time. NULL with errno ENOMEM, or mlock's (EPERM, EAGAIN, ENOMEM: see
 * RLIMIT_MEMLOCK); nothing less safe is given instead. Not in a sandbox that kills for mlock. Security levels don't matter. */
QUARRY_EXPORT QUARRY_MALLOC QUARRY_SIZE(1) void *quarry_secure_alloc(size_t size);

/* Looks at the bytes around the block, which are reported if they have changed, zeroes it and gives it back. NULL does nothing;
 * any other pointer that is none of quarry_secure_alloc's is reported. free and realloc must not be given one. */
QUARRY_EXPORT void quarry_secure_free(void *block);

/* ---- Sizes ---- */

/* How many bytes of the block may be used: at least what was asked for, constant until it is freed or resized;
 * all are writable and kept by realloc. NULL gives 0. A pointer that is no live block's start is reported. */
QUARRY_EXPORT size_t quarry_usable_size(const void *block);

/* What a request of `size` bytes rounds up to: quarry_usable_size(quarry_malloc(size)). 0 if `size` is above
 * PTRDIFF_MAX. Allocates nothing. */
QUARRY_EXPORT size_t quarry_good_size(size_t size);

/* ---- Giving memory back ---- */

/* Returns free memory to the system, of all threads as far as it can be reached, except `keep_bytes` of it.
 * Returns the number of bytes of resident memory that went back; 0 if none. Takes time in proportion to the heap. */
QUARRY_EXPORT size_t quarry_trim(size_t keep_bytes);

/* The same for parts of it, which may be added up. */
enum quarry_purge {
	QUARRY_PURGE_CACHED = 1,        /* free blocks that the calling thread keeps at hand, and those of ended threads, go
	                                 * back to their slabs; slabs that become empty are free spans then */
	QUARRY_PURGE_PAGES = 2,         /* free pages of slabs in use, whichever thread's */
	QUARRY_PURGE_SPANS = 4,         /* free spans */
	QUARRY_PURGE_ALL = 7,
};
/* As quarry_trim(0) does it for all, but how many bytes were resident is not asked: it returns how many went back, with those
 * that the program had never touched. Returns 0 with errno EINVAL if flags are none, or others than these. */
QUARRY_EXPORT size_t quarry_purge(unsigned flags);

/* ---- When memory can't be had ---- */

/* Sets a function that is called when a request can't be served, after all that is free and can be reached has gone back;
 * NULL for none. `size`: the bytes that were asked for. It returns true if it has freed something: then the request is tried
 * again, and if that fails it is called again. With false the request fails: NULL and ENOMEM; operator new goes on to
 * std::new_handler.
 * It runs on the thread that asked, which holds no lock of Quarry's, and may call every function here and in the C library, also
 * allocate; what it asks for itself fails at once where memory is short, without another call of it on this thread. Several
 * threads may be in it at a time. It must return (no longjmp, no exception), and must not free or resize the block that
 * the thread is just resizing. Not called for sizes that no address space, or the option `limit`, has room for. After it has been
 * replaced, a thread that is in it, or about to call it, may still be. */
QUARRY_EXPORT void quarry_set_oom_handler(bool (*handler)(size_t size, void *context), void *context);

/* ---- Looking inside ---- */

/* What an address is to Quarry. */
enum quarry_kind {
	QUARRY_FOREIGN = 0,     /* outside Quarry's memory */
	QUARRY_UNUSED = 1,      /* in Quarry's memory, but in no block: a free span, a slab's head or tail, never used */
	QUARRY_METADATA = 2,    /* Quarry's own bookkeeping */
	QUARRY_LIVE = 3,        /* in a block that is handed out */
	QUARRY_FREE = 4,        /* in a block that is free: freed before, or never handed out */
};

struct quarry_description {
	enum quarry_kind kind;
	void *block;            /* start of the block that the address lies in; NULL unless LIVE or FREE */
	size_t size;            /* the block's usable bytes; 0 unless LIVE or FREE */
	size_t offset;          /* of the address in the block */
	bool large;             /* the block has a span of its own */
	bool fresh;             /* FREE only: known to have never been handed out since its slab was made */
};

/* Describes any address, interior ones too; never reports, never dereferences the address. The answer is a snapshot:
 * other threads may change it at once. */
QUARRY_EXPORT struct quarry_description quarry_describe(const void *address);

/* Calls `visit` for each live block (start, usable bytes) in address order until it returns non-zero; returns that,
 * or 0. Blocks that other threads allocate or free meanwhile may or may not be seen. `visit` may allocate and free. */
QUARRY_EXPORT int quarry_walk(int (*visit)(void *block, size_t size, void *context), void *context);

/* Figures, counted when asked. Bytes unless named otherwise. */
struct quarry_stats {
	size_t struct_bytes;        /* set by the caller to sizeof(struct quarry_stats): later versions add fields */
	uint64_t live_bytes;        /* usable bytes of all live blocks; with a security level what they take */
	uint64_t live_blocks;       /* count */
	uint64_t live_large_bytes;  /* of these, in blocks with a span of their own */
	uint64_t live_large_blocks; /* count */
	uint64_t cached_bytes;      /* free blocks held in threads' magazines */
	uint64_t free_in_slab_bytes;/* free blocks in slabs that are in use */
	uint64_t slab_bytes;        /* address space of all slabs */
	uint64_t slab_count;
	uint64_t large_span_bytes;  /* address space of the spans of large blocks */
	uint64_t dirty_bytes;       /* free spans whose memory has not gone back */
	uint64_t clean_bytes;       /* free spans without memory, committed */
	uint64_t metadata_bytes;    /* handed out by the metadata allocator: headers, ledgers, heaps, magazines */
	uint64_t page_map_bytes;    /* readable and writable part of the page maps */
	uint64_t committed_bytes;   /* readable and writable part of the regions */
	uint64_t reserved_bytes;    /* all regions, address space */
	uint64_t region_count;
	uint64_t heap_count;        /* thread heaps ever made and still existing, in use or pooled */
	uint64_t heap_pooled_count; /* of these, waiting for a thread */
	uint64_t purged_bytes;      /* total given back by MADV_DONTNEED since the start */
	uint64_t purge_count;       /* calls that gave back */
	uint64_t moved_bytes;       /* moved by realloc with mremap instead of being copied, since the start */
	uint64_t slab_away_bytes;   /* of slab_bytes: pages without memory, given back or never touched */
	uint64_t refaulted_bytes;   /* pages of slabs that were given back and handed out again, since the start */
	uint64_t sweep_count;       /* completed sweeps over all slabs, since the start */
	uint64_t retained_max_bytes;/* how much free memory may stay resident now: retain, retain_percent, what was learnt */
	uint64_t longest_purge_ns;  /* the longest call that gave back, since the start */
	uint64_t uncommitted_bytes; /* free spans that were committed and are not now: neither memory nor commit charge */
	uint64_t purge_step_count;  /* pieces of such work, of several calls, that a thread did at a time, since the start */
	uint64_t longest_step_ns;   /* the longest of them */
	uint64_t refaulted_span_bytes;      /* free spans that were given back and taken again soon, since the start; what
	                             * seems to have been there of them */

	/* Where resident memory is: pages that are there, each byte counted once. What a program asked for is not known:
	 * a live block counts with the whole of its usable size, as far as its pages are there. What is given back is
	 * beside this: slab_away_bytes, clean_bytes. */
	uint64_t resident_bytes;            /* the sum of the next seven */
	uint64_t resident_live_bytes;       /* live blocks */
	uint64_t resident_waste_bytes;      /* in no block, beside live ones: the ends of slabs and of large blocks' spans */
	uint64_t resident_cached_bytes;     /* free blocks held in threads' magazines */
	uint64_t resident_beside_bytes;     /* free blocks in pages of slabs that hold others in use, too */
	uint64_t resident_free_page_bytes;  /* free pages of slabs, not given back */
	uint64_t resident_span_bytes;       /* free spans, not given back */
	uint64_t resident_metadata_bytes;   /* headers, ledgers, heaps, magazines, page maps */
	uint64_t resident_measured; /* 1: by the kernel's word; 0: estimated from what Quarry knows (it does not know which
	                             * pages of a live block were touched) */
	uint64_t pressure_level;    /* how short memory is now: 0 not, as far as is known; 1 somewhat; 2 very */
	uint64_t pressure_looks;    /* looks that found it short, since the start */

	/* Guard mode, 0 without: blocks that stand alone on pages of their own, which are in no region, and not in the
	 * resident_ fields. */
	uint64_t guarded_bytes;     /* of live_bytes */
	uint64_t guarded_blocks;    /* of live_blocks */
	uint64_t guarded_page_bytes;/* memory: their pages, whole */
	uint64_t guarded_freed_blocks;      /* in the quarantine: addresses that are not used again yet */
	uint64_t guarded_freed_bytes;       /* of address space, without memory */
	uint64_t guarded_table_bytes;       /* readable and writable part of what is known about both */
};

/* Fills `stats`; 0, or -1 with errno EINVAL if struct_bytes is 0 or larger than this version knows. The sums are
 * exact when no other thread allocates meanwhile; resident_ fields are estimates. Takes 1 to 2 ns per block of every
 * slab. */
QUARRY_EXPORT int quarry_stats(struct quarry_stats *stats);

/* The same, but the resident_ fields are measured: the kernel is asked for every page (mincore), which takes up to
 * 30 ms more per GiB. If it refuses they are estimates, and resident_measured is 0. Not after a sandbox was set up that
 * kills for that call. */
QUARRY_EXPORT int quarry_stats_measured(struct quarry_stats *stats);

/* Writes the same as one JSON object, with a table per size class, to `buffer` (always terminated if `capacity` is
 * not 0). Returns the length that the whole text has without its terminator, like snprintf. Allocates nothing. */
QUARRY_EXPORT size_t quarry_stats_json(char *buffer, size_t capacity);

/* ---- Reports ---- */

/* What a report says, as far as a program can act on it. */
struct quarry_report {
	size_t struct_bytes;        /* sizeof(struct quarry_report) of the library: later versions add fields */
	const char *kind;           /* the section of doc/errors.md: "double-free", "use-after-free" ... */
	const char *title;          /* what is wrong, in a sentence */
	const char *call;           /* the function that was called; NULL if an access faulted */
	const void *address;        /* the pointer it was given, or the address that was accessed */
	const void *block;          /* start of the block concerned; NULL if none is known */
	size_t block_size;
	const char *text;           /* the whole report as it was written (option `report_format`), ended by a 0 */
	size_t text_bytes;
};

/* Sets a function that is called after each report has been written, on the thread that made it and before the process
 * ends (or goes on, with on_error=warn); NULL for none. It may run inside malloc, free or a signal handler: it may only do
 * what signal handlers may (signal-safety(7)). `report` and what it points to are its own until it returns. One report is
 * made at a time. */
QUARRY_EXPORT void quarry_set_report_handler(void (*handler)(const struct quarry_report *report, void *context),
                                             void *context);

/* In guard mode: looks for guarded blocks that nothing points to any more, and reports them, with those that only pointers
 * to their insides lead to ("possibly"; the option guard_leaks does the same at the end). Returns how many are lost, without
 * the latter; -1 with errno ENOTSUP without guard mode, EBUSY while another thread looks, or another one if the system
 * refuses what it takes. Every value in the process's writable memory, its stacks and registers that may be a pointer is taken
 * for one. Other threads are stopped for as long as it takes (some 10 ns a word), by a real-time signal that the program does
 * not use: calls that signals interrupt may return EINTR there. */
QUARRY_EXPORT int64_t quarry_leak_check(void);

/* "0.1.0" */
QUARRY_EXPORT const char *quarry_version(void);

/* A program that is linked with Quarry may define its own defaults: const char quarry_options[] = "key=value,...";
 * The environment's QUARRY_OPTIONS overrides it key by key. See quarry_options(7). */
extern const char quarry_options[] __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif

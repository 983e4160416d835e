/* The system, one call per function and no opinion: the only place with system calls.
 *
 * Contracts: addresses and sizes are multiples of os_page_bytes() and sizes are > 0, unless a comment says otherwise.
 * Results are 0 or a negative errno, or an address or NULL; errno itself is never touched: the calls are made
 * directly, so that an interposed mmap can't recurse into us either. Every function is thread-safe and
 * async-signal-safe unless it says otherwise. */
#ifndef QUARRY_OS_OS_H
#define QUARRY_OS_OS_H

#include <signal.h>
#include <stdatomic.h>

#include "base/compiler.h"

/* ---- memory.c ---- */

/* Page size of the running kernel (AT_PAGESZ): 4096, 16384 or 65536. In builds for tests (--with-page-bytes) a multiple
 * of it, in which all is counted. */
size_t os_page_bytes(void);
size_t os_kernel_page_bytes(void);

/* Reserves address space without memory and without commit charge: PROT_NONE, private. Not MAP_NORESERVE: os_commit
 * is to be charged, so that the kernel's refusal of what can't ever be had (overcommit_memory 0: more than memory and
 * swap at once) comes as ENOMEM here and not as the OOM killer later. NULL if the kernel refuses. */
void *os_reserve(size_t bytes);
/* Whether all that is committed counts, used or not (vm.overcommit_memory is 2); false where address space is too short to
 * tell. */
bool os_overcommit_is_strict(void);
/* The same for address space of which little is ever used: what is committed of it is not charged either, unless the
 * kernel charges everything (overcommit_memory 2). */
void *os_reserve_uncharged(size_t bytes);
/* Makes part of a reservation readable and writable. */
int os_commit(void *address, size_t bytes);
/* Puts a reservation in place of what is mapped there: inaccessible, without memory, and, what neither purging nor
 * protecting does, without commit charge. On an error all is as it was. -EINVAL: somebody has locked it, and new memory
 * would not be locked. */
int os_uncommit(void *address, size_t bytes);
/* Makes memory inaccessible (a guard page); it keeps what it holds. */
int os_protect_none(void *address, size_t bytes);
int os_protect_read(void *address, size_t bytes);
/* Forbids any later change of the mapping (mseal, Linux 6.10); -ENOSYS on older kernels. */
int os_seal(void *address, size_t bytes);
/* Drops the memory; the next touch finds zeros (MADV_DONTNEED). -ENOSYS where that has no effect. */
int os_purge(void *address, size_t bytes);
/* Puts fresh zeroed memory in place of whatever is mapped there, so that its VMA merges with its neighbours, if nothing
 * has been said of those that the new one hasn't heard. On -ENOMEM the range is inaccessible now and must stay out of use;
 * on other errors it is as it was. */
int os_remap_fresh(void *address, size_t bytes);
/* Says whether huge pages are wanted in the range; a split of its VMA, unless its neighbours have heard the same. */
int os_advise_huge(void *address, size_t bytes, bool wanted);
/* Moves the pages of [from, from+bytes) to `to`, replacing what is mapped there; `from` stays mapped and reads as
 * zeros (mremap with MREMAP_DONTUNMAP, Linux 5.7). A source of several VMAs is moved piece by piece. On failure
 * nothing is moved, but the target may be unmapped: os_remap_fresh makes it whole. The ranges must not overlap. */
int os_move(void *from, void *to, size_t bytes);
void os_unmap(void *address, size_t bytes);
/* Which pages of the kernel's of the range are resident (mincore): stores a byte for each, 1 or 0. */
int os_resident_pages(void *address, size_t bytes, unsigned char *pages);
/* How many bytes of the range are resident; all of them if the kernel doesn't tell. */
size_t os_resident_bytes(void *address, size_t bytes);
/* Keeps the pages in memory (mlock), which RLIMIT_MEMLOCK bounds: -ENOMEM, -EPERM or -EAGAIN. */
int os_lock(void *address, size_t bytes);
/* Keeps them out of core dumps; gives a fork's child zeros in their place (Linux 4.14; -EINVAL before). */
int os_hide_from_dumps(void *address, size_t bytes);
int os_wipe_on_fork(void *address, size_t bytes);
/* Zeroes memory; any address and size. */
void os_zero(void *address, size_t bytes);
/* Marks pages of a private writable mapping as guards and drops their memory: any access faults, and no mapping is split
 * (MADV_GUARD_INSTALL, Linux 6.13). -EINVAL on older kernels, and for memory that is locked. */
int os_guard_install(void *address, size_t bytes);
/* Guards become fresh zeroed pages; pages that are no guards are left alone. */
int os_guard_remove(void *address, size_t bytes);
/* Whether this kernel has them, and they do what they should: tries on a page of its own. */
bool os_has_guards(void);
/* How many mappings a process may have (vm.max_map_count); the kernel's default if that can't be read. Opens a file: at
 * the start only, before a sandbox can object. */
size_t os_mappings_max(void);

/* ---- environment.c ---- */

/* Value of the environment variable at process start, NULL if unset. Works before the C library is initialised. */
const char *os_environment(const char *name);
/* Bytes that nobody can foretell: the kernel's, or, where it refuses, what it gave the process at exec mixed with clocks.
 * At the start, before a sandbox can object; bytes is at most 256. */
void os_random(void *to, size_t bytes);
/* Whether the program gained privileges at exec (AT_SECURE): then the environment is not to be trusted. */
bool os_is_secure(void);
/* Memory of the machine in bytes, 0 if unknown. */
uint64_t os_memory_bytes(void);
/* RLIMIT_AS, UINT64_MAX if none. */
uint64_t os_address_space_limit(void);
/* RLIMIT_DATA, which counts all that is committed, UINT64_MAX if none. */
uint64_t os_data_limit(void);
/* Milliseconds of a clock that never goes back; coarse (some ms) and cheap. */
uint64_t os_now_ms(void);

/* Nanoseconds of the same clock, fine. */
uint64_t os_now_ns(void);

/* ---- file.c ---- */

/* A file under /proc or /sys that is kept open, to be read again and again. It closes on exec, and its number is high
 * (up to 1,024), so that the program's own are what they would be. */
struct os_file {
	int number;                     /* 0: none */
	uint64_t device;
	uint64_t inode;
};
/* False, and none, if it can't be opened or no high number is to be had. For a moment the lowest free number is taken. */
bool os_file_open(struct os_file *file, const char *path);
/* Makes a file of a descriptor that was just opened, with a number from `lowest` on; false, and closed, if that can't be. */
bool os_file_take(struct os_file *file, int number, int lowest);
/* Reads from the offset on (pread: moves nobody's position, takes nothing out of a pipe); how many bytes, or a negative
 * errno. A program may have closed the number, and may use it itself: what comes then is its file's. */
long os_file_read(const struct os_file *file, void *buffer, size_t capacity, uint64_t offset);
/* Closes it, if the number still is that file's. From then on it is none. */
void os_file_close(struct os_file *file);

/* The whole of a file, which is closed again; how many bytes, or a negative errno: EFBIG if there are more. */
long os_file_content(const char *path, void *buffer, size_t capacity);
/* Appends to a file, which is made if there is none; a pipe that nobody reads is an error. */
int os_file_append(const char *path, const char *bytes, size_t length);

/* ---- sandbox.c ---- */

/* The system call filters (seccomp) of the thread that opened this. A sandbox that was set up for all threads may kill for
 * whatever is beyond the calls that each one allows: whether there is one is asked by these alone (mmap, futex, munmap,
 * read). */
struct os_filters {
	struct os_file status;
	struct os_file guard;
	uint32_t secret[4];             /* what the guard holds */
	uint64_t known;                 /* mode and count, as they were */
};
enum os_filters_change {
	OS_FILTERS_SAME,
	OS_FILTERS_ADDED,
	OS_FILTERS_LOST,                /* can't be asked any more: the program has closed the files */
	OS_FILTERS_UNKNOWN,             /* this time; memory or mappings are short */
};
/* False where it can't be told (/proc/thread-self, memfd_create: Linux 3.17). */
bool os_filters_open(struct os_filters *filters);
/* By one thread at a time. If nothing has changed it also calls lseek. */
enum os_filters_change os_filters_look(const struct os_filters *filters);
/* Not after one was added: it calls statx and close. */
void os_filters_close(struct os_filters *filters);

/* ---- thread.c ---- */

int os_process_id(void);
/* Makes the process, which is ending by exit, end with this status in place of 0, when all handlers have run. Does nothing
 * where the C library has no on_exit. */
void os_exit_with(int status);
/* The calling thread's kernel id, and its name (at most 15 bytes and a 0; "" if unknown). */
int os_thread_id(void);
void os_thread_name(char name[16]);
/* The same of another thread of the process; "" if there is none. Opens a file. */
void os_thread_name_of(int id, char name[16]);
/* The calling thread's stack holds the address, as far as that can be told without allocating. */
bool os_is_own_stack(const void *address);
/* Whether the calling thread is the process's first. */
bool os_is_first_thread(void);
/* Starts a detached thread of that name (at most 15 bytes) that runs `run` with all signals blocked but those that its own
 * instructions and system calls raise. `run` returns whether the process may end with this thread: then exit handlers
 * see the signals of who started it. False if the system refuses. The C library allocates for it: no lock may be held. */
bool os_thread_start(bool (*run)(void), const char *name);
/* Lets others run for some 100 microseconds. */
void os_pause(void);
/* As port_futex_wait, for at most so many milliseconds. */
void os_futex_wait_ms(_Atomic uint32_t *word, uint32_t expected, uint64_t milliseconds);
/* The calling thread's kernel id without a system call, if os_thread_id_learn found where the C library keeps it. That
 * is called once, by a thread that holds no robust mutex. */
void os_thread_id_learn(void);
int os_thread_id_quick(void);
/* Where the calling thread's stack ends (its high end), seen from a stack pointer; 0 if that is another stack: an
 * alternate one, a coroutine's. A thread's control block counts as stack: it is readable and lies above. */
uintptr_t os_stack_end(uintptr_t here);

/* Surely no other thread; `unsaid` where the C library doesn't tell (glibc does, 2.32 and later). */
bool os_is_single_threaded(bool unsaid);
/* For who asks often: not 0 while there is surely no other thread. */
const char *os_single_threaded_flag(void);

/* ---- inspect.c: opens files below /proc ---- */

struct os_mapping {
	uintptr_t start, end;
	bool readable;
	bool shared;
	bool is_main_stack;             /* of the first thread: nothing else is in it */
};
/* Calls `visit` for each mapping of the process, in address order, until it returns false (-ENOMEM then). */
int os_mappings(bool (*visit)(const struct os_mapping *mapping, void *context), void *context);

/* A number for os_pages_own, or a negative errno. */
int os_pages_open(void);
void os_pages_close(int file);
/* Says for the kernel's pages of a private mapping whether they may hold what the process has written: in memory or
 * swapped out. A page that was never written to holds nothing, or its file's. Returns how many it told, up to 256; 0 if it
 * can't. */
size_t os_pages_own(int file, uintptr_t start, size_t pages, unsigned char *own);
/* Copies memory that may not be there; returns how many bytes it came to before the first that is not readable. */
size_t os_copy(void *to, uintptr_t from, size_t bytes);

/* Kernel ids of the process's threads, of which `most` are stored; their number, or a negative errno. */
long os_threads(int *ids, size_t most);
/* Which signals a thread of the process blocks, signal 1 as bit 0. False if there is no such thread, or it has ended. */
bool os_thread_blocks(int id, uint64_t *signals);

/* ---- world.c ---- */

/* A thread that waits in a signal's handler. */
struct os_stopped {
	int id;
	uintptr_t stack;                /* its stack pointer */
	uintptr_t registers[128];       /* whatever is in them, in no order that matters */
};
/* Stops all other threads, until os_world_go; returns how many rows it has filled in, and in `deaf` how many threads it
 * could not stop, or doesn't know. `threads` has room for `most`, `ids` for twice that; both stay the callee's until
 * os_world_go. The others may have been stopped anywhere: no lock may be taken meanwhile, nothing allocated. One caller
 * at a time. */
size_t os_world_stop(struct os_stopped *threads, int *ids, size_t most, size_t *deaf);
void os_world_go(void);
/* In the child of a fork. */
void os_world_fork_child(void);

/* ---- signal.c ---- */

/* As sigaction(2). */
int os_signal_action(int number, const struct sigaction *action, struct sigaction *before);
void os_signal_default(int number);
/* Sends the signal to the calling thread. */
void os_signal_raise(int number);
/* Blocks these, and `number` besides unless it is 0, in the calling thread. */
void os_signals_block(const sigset_t *set, int number);
/* Blocks all, until what was before is set again. */
void os_signals_hold(sigset_t *before);
void os_signals_restore(const sigset_t *before);
/* The alternate stack of the calling thread, if it has none yet. */
void os_signal_stack(void *start, size_t bytes);

/* ---- object.c ---- */

/* What the loader knows of a program or library that is loaded. */
struct os_object {
	uintptr_t start, end;           /* its mapping; there may be gaps in it */
	uintptr_t bias;                 /* address in memory less address in the file */
	const void *unwind_table;       /* its .eh_frame_hdr; NULL if it has none */
	const void *dynamic;            /* its dynamic section; NULL if it has none */
	const char *name;               /* path; "" for the program */
};

/* The object whose mapping holds the address; false if there is none. Takes no lock with glibc 2.35 and later
 * (_dl_find_object), the loader's elsewhere. */
bool os_object_of(const void *address, struct os_object *object);
/* Any loaded object's mapping holds the address; false if that can't be told without a lock. */
bool os_is_in_object(const void *address);
/* The name of that object as it was loaded, for the program itself as it was started; NULL if that can't be told. Takes
 * no lock and allocates nothing. */
const char *os_object_name(const void *address);
/* Both lie in one object; false if that can't be told. */
bool os_is_same_object(const void *one, const void *other);
/* It lies in the dynamic loader, or there is none: the program is static. Takes no lock; false if that can't be told. */
bool os_is_loader(const void *address);
/* Path of the program's file, as /proc says when first asked, which should be at the start; "" if unknown. */
const char *os_program_path(void);

#endif

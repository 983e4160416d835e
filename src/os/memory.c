/* Mapping, protecting, purging and moving memory: see os.h. */
#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bits.h"
#include "os/fault.h"
#include "os/os.h"
#include "os/syscall.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define ADVICE_OF_NOBODY 4711
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

/* Configured with --with-page-bytes, for tests: pages are at least so large. */
#ifndef QUARRY_PAGE_BYTES
#define QUARRY_PAGE_BYTES 0
#endif

size_t os_kernel_page_bytes(void)
{
	size_t bytes = getauxval(AT_PAGESZ);

	return bytes != 0 ? bytes : 4096;
}

/* 0 until first asked for. Every writer writes the same value. */
static size_t page_bytes;

size_t os_page_bytes(void)
{
	size_t bytes = __atomic_load_n(&page_bytes, __ATOMIC_RELAXED);

	if (UNLIKELY(bytes == 0)) {
		bytes = max_size(os_kernel_page_bytes(), QUARRY_PAGE_BYTES);
		__atomic_store_n(&page_bytes, bytes, __ATOMIC_RELAXED);
	}
	return bytes;
}

/* A range that a kernel with pages of ours would take. */
static bool is_of_pages(const void *address, size_t bytes)
{
	return QUARRY_PAGE_BYTES == 0 || IS_ALIGNED((uintptr_t)address | bytes, os_page_bytes());
}

/* Maps private memory wherever there is room; NULL if the kernel refuses. */
static void *map_anywhere(size_t bytes, int protection, int flags)
{
	size_t beyond = QUARRY_PAGE_BYTES == 0 ? 0 : os_page_bytes() - os_kernel_page_bytes();
	long result = SYSCALL6(SYS_mmap, 0, bytes + beyond, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (syscall_failed(result))
		return NULL;
	char *start = (char *)ROUND_UP((uintptr_t)result, beyond > 0 ? os_page_bytes() : 1);
	size_t before = (size_t)(start - (char *)result);
	if (before > 0)
		SYSCALL2(SYS_munmap, result, before);
	if (beyond > before)
		SYSCALL2(SYS_munmap, start + bytes, beyond - before);
	return start;
}

void *os_reserve(size_t bytes)
{
	return os_fault(OS_CALL_RESERVE) != 0 ? NULL : map_anywhere(bytes, PROT_NONE, 0);
}

/* Far more than could be charged, and a quarter of x86-64's address space at most. */
#define STRICT_PROBE_MULTIPLE 64
#define STRICT_PROBE_BYTES_MAX ((size_t)32 << 40)

bool os_overcommit_is_strict(void)
{
	size_t bytes = ROUND_DOWN(min_size(os_memory_bytes(), STRICT_PROBE_BYTES_MAX / STRICT_PROBE_MULTIPLE) *
	                                  STRICT_PROBE_MULTIPLE, os_page_bytes());
	/* MAP_NORESERVE saves the charge in every mode but this one. */
	long result = SYSCALL6(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	bool refused = syscall_failed(result);

	/* Where there is less address space than that, or less is allowed, this is refused as well. */
	if (refused)
		result = SYSCALL6(SYS_mmap, 0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!syscall_failed(result))
		os_unmap((void *)result, bytes);
	return refused && !syscall_failed(result);
}

void *os_reserve_uncharged(size_t bytes)
{
	if (os_fault(OS_CALL_RESERVE_UNCHARGED) != 0)
		return NULL;
	return map_anywhere(bytes, PROT_NONE, MAP_NORESERVE);
}

static int protect(void *address, size_t bytes, int protection)
{
	return is_of_pages(address, bytes) ? (int)SYSCALL3(SYS_mprotect, address, bytes, protection) : -EINVAL;
}

static int advise(void *address, size_t bytes, int advice)
{
	return is_of_pages(address, bytes) ? (int)SYSCALL3(SYS_madvise, address, bytes, advice) : -EINVAL;
}

int os_commit(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_COMMIT);

	return error != 0 ? error : protect(address, bytes, PROT_READ | PROT_WRITE);
}

/* A fixed mapping was refused. Kernels before 6.12 may have unmapped by then what was there: such a hole is reserved at
 * once (-ENOMEM). Where something is mapped all is as it was, and any other error says so. */
static int refused_mapping(void *address, size_t bytes, int error)
{
	if (error != -ENOMEM)
		return error;
	long result = SYSCALL6(SYS_mmap, address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (result == (long)address)
		return -ENOMEM;
	/* A kernel before 4.17 takes the address for a hint. */
	if (!syscall_failed(result))
		SYSCALL2(SYS_munmap, result, bytes);
	return -EAGAIN;
}

int os_uncommit(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_UNCOMMIT);

	if (error == 0)
		error = advise(address, bytes, MADV_DONTNEED);
	if (error != 0)
		return error;
	long result = SYSCALL6(SYS_mmap, address, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (!syscall_failed(result))
		return 0;
	error = refused_mapping(address, bytes, (int)result);
	return error == -ENOMEM ? 0 : error;
}

int os_protect_none(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_PROTECT_NONE);

	return error != 0 ? error : protect(address, bytes, PROT_NONE);
}

int os_protect_read(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_PROTECT_READ);

	return error != 0 ? error : protect(address, bytes, PROT_READ);
}

int os_seal(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_SEAL);

	return error != 0 ? error : (int)SYSCALL3(SYS_mseal, address, bytes, 0);
}

/* A page of our own that has been written to; NULL if there is none to be had. */
static char *page_written(void)
{
	char *page = map_anywhere(os_page_bytes(), PROT_READ | PROT_WRITE, 0);

	if (page != NULL)
		*(volatile char *)page = 1;
	return page;
}

/* Emulators (qemu-user before 7.1, later ones whose machine's pages are larger than the kernel's) let the advice succeed
 * and do nothing, and what is not zero then would be handed out as zero. Asked once, before the first purge. */
static bool purge_works(void)
{
	static _Atomic int known;               /* 1: works, -1: doesn't */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (LIKELY(answer != 0))
		return answer > 0;
	char *page = page_written();
	if (page == NULL)
		return true;
	answer = SYSCALL3(SYS_madvise, page, os_page_bytes(), MADV_DONTNEED) != 0 || *(volatile char *)page == 0 ? 1 : -1;
	os_unmap(page, os_page_bytes());
	atomic_store_explicit(&known, answer, memory_order_relaxed);
	return answer > 0;
}

int os_purge(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_PURGE);

	if (error == 0 && UNLIKELY(!purge_works()))
		error = -ENOSYS;
	if (error != 0)
		return error;
	error = advise(address, bytes, MADV_DONTNEED);
	/* What somebody has locked wants another word for the same; not of those who take any word. */
	if (error == -EINVAL && advise(address, bytes, ADVICE_OF_NOBODY) == -EINVAL)
		error = advise(address, bytes, MADV_DONTNEED_LOCKED);
	return error;
}

int os_remap_fresh(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_REMAP_FRESH);

	if (error != 0)
		return error;
	long result = SYSCALL6(SYS_mmap, address, bytes, PROT_READ | PROT_WRITE,
	                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return syscall_failed(result) ? refused_mapping(address, bytes, (int)result) : 0;
}

int os_advise_huge(void *address, size_t bytes, bool wanted)
{
	int error = os_fault(OS_CALL_ADVISE_HUGE);

	return error != 0 ? error : advise(address, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void os_unmap(void *address, size_t bytes)
{
	SYSCALL2(SYS_munmap, address, bytes);
}

/* qemu-user takes what was moved for unmapped, and may give it to the next mmap; it shows where it looks before the kernel
 * does. Zero afterwards, as it was. */
static bool source_is_mapped(void *from)
{
	bool mapped = SYSCALL2(SYS_clock_gettime, CLOCK_MONOTONIC, from) != -EFAULT;

	if (mapped)
		SYSCALL3(SYS_madvise, from, os_kernel_page_bytes(), MADV_DONTNEED);
	return mapped;
}

static int move_one(void *from, void *to, size_t bytes)
{
	static _Atomic int works;               /* 1: yes, -1: no; 0 before the first move */
	int known = atomic_load_explicit(&works, memory_order_relaxed);
	int error = os_fault(OS_CALL_MOVE);

	if (error == 0 && UNLIKELY(known < 0))
		error = -ENOSYS;
	if (error != 0)
		return error;
	long result = SYSCALL5(SYS_mremap, from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to);
	if (syscall_failed(result))
		return (int)result;
	if (UNLIKELY(known == 0)) {
		known = source_is_mapped(from) ? 1 : -1;
		atomic_store_explicit(&works, known, memory_order_relaxed);
		if (known < 0)
			return os_remap_fresh(from, bytes);
	}
	return 0;
}

/* Whether the range lies in one VMA. Asks for a page more without moving, which fails with EFAULT exactly if not; the
 * failing move itself would say so as well, but before Linux 6.17 only after it has unmapped the target, and another
 * thread's mmap may fall into that hole. */
static bool in_one_mapping(char *from, size_t bytes)
{
	size_t page = os_page_bytes();
	long result = SYSCALL4(SYS_mremap, from, bytes, bytes + page, 0);

	if (!syscall_failed(result))
		os_unmap(from + bytes, page);
	return result != -EFAULT;
}

/* Moves what it can from the start and stores how much in *moved. A range that crosses from one VMA to another is
 * tried by halves, so a boundary costs two calls per power of two between it and a page. */
static int move_pieces(char *from, char *to, size_t bytes, size_t *moved)
{
	if (bytes <= os_page_bytes() || in_one_mapping(from, bytes)) {
		int error = move_one(from, to, bytes);
		*moved += error == 0 ? bytes : 0;
		return error;
	}
	int error;
	size_t half = ROUND_UP(bytes / 2, os_page_bytes());
	error = move_pieces(from, to, half, moved);
	if (error == 0)
		error = move_pieces(from + half, to + half, bytes - half, moved);
	return error;
}

int os_move(void *from, void *to, size_t bytes)
{
	size_t moved = 0;
	size_t back = 0;
	int error = move_pieces(from, to, bytes, &moved);

	if (error != 0 && moved > 0 && move_pieces(to, from, moved, &back) != 0) {
		/* Half here, half there, and the way back is closed as well: what is left can still be copied. */
		os_remap_fresh((char *)from + back, moved - back);
		memcpy((char *)from + back, (char *)to + back, moved - back);
	}
	return error;
}

int os_resident_pages(void *address, size_t bytes, unsigned char *pages)
{
	int error = os_fault(OS_CALL_RESIDENT);

	if (error == 0)
		error = (int)SYSCALL3(SYS_mincore, address, bytes, pages);
	/* The other bits are the kernel's own. */
	for (size_t i = 0; error == 0 && i < bytes / os_kernel_page_bytes(); i++)
		pages[i] &= 1;
	return error;
}

size_t os_resident_bytes(void *address, size_t bytes)
{
	unsigned char pages[256];
	size_t page = os_kernel_page_bytes();
	size_t resident = 0;

	for (size_t done = 0; done < bytes;) {
		size_t step = min_size(bytes - done, sizeof(pages) * page);

		if (os_resident_pages((char *)address + done, step, pages) != 0)
			return resident + (bytes - done);
		for (size_t i = 0; i < step / page; i++)
			resident += pages[i] * page;
		done += step;
	}
	return resident;
}

int os_lock(void *address, size_t bytes)
{
	return (int)SYSCALL2(SYS_mlock, address, bytes);
}

int os_hide_from_dumps(void *address, size_t bytes)
{
	return advise(address, bytes, MADV_DONTDUMP);
}

int os_wipe_on_fork(void *address, size_t bytes)
{
	return advise(address, bytes, MADV_WIPEONFORK);
}

void os_zero(void *address, size_t bytes)
{
	memset(address, 0, bytes);
}

int os_guard_install(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_GUARD_INSTALL);

	return error != 0 ? error : advise(address, bytes, MADV_GUARD_INSTALL);
}

int os_guard_remove(void *address, size_t bytes)
{
	int error = os_fault(OS_CALL_GUARD_REMOVE);

	return error != 0 ? error : advise(address, bytes, MADV_GUARD_REMOVE);
}

bool os_has_guards(void)
{
	char *page = page_written();

	if (page == NULL)
		return false;
	/* An emulator may let any advice succeed: a guard drops what was there. */
	bool works = os_guard_install(page, os_page_bytes()) == 0 && os_guard_remove(page, os_page_bytes()) == 0 &&
	             *(volatile char *)page == 0;
	os_unmap(page, os_page_bytes());
	return works;
}

/* DEFAULT_MAX_MAP_COUNT of the kernel. */
#define MAPPINGS_DEFAULT 65530

size_t os_mappings_max(void)
{
	char digits[24];
	size_t count = 0;
	long length = os_file_content("/proc/sys/vm/max_map_count", digits, sizeof(digits));

	for (long i = 0; i < length && digits[i] >= '0' && digits[i] <= '9'; i++)
		count = count * 10 + (size_t)(digits[i] - '0');
	return count > 0 ? count : MAPPINGS_DEFAULT;
}

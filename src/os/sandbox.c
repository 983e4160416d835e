/* Whether a system call filter was added: see os.h.
 *
 * The kernel tells in a file of each thread's, and of the calls that every sandbox allows read is the one that reads it. It
 * would take from a pipe or socket of the program's that has the number by now, so a second file guards the first: one
 * with the next number, that can be mapped and holds what no other does. Programs that close what they don't know close
 * both. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "os/lines.h"
#include "os/os.h"
#include "os/syscall.h"

/* From the kernel's headers, which may be older. */
#define MEMFD_CLOEXEC 1u
#define MEMFD_NOEXEC_SEAL 8u
#define FUTEX_CMP_REQUEUE_PRIVATE_OP (4 | 128)

/* ---- The file that tells ---- */

struct told {
	uint64_t mode;
	uint64_t count;
	bool any;
};

static void number_after(const char *line, const char *name, uint64_t *value)
{
	size_t length = strlen(name);

	if (strncmp(line, name, length) != 0)
		return;
	*value = 0;
	for (line += length; *line >= '0' && *line <= '9'; line++)
		*value = *value * 10 + (uint64_t)(*line - '0');
}

static bool line_visit(const char *line, void *context)
{
	struct told *told = context;

	told->any = true;
	number_after(line, "Seccomp:\t", &told->mode);
	number_after(line, "Seccomp_filters:\t", &told->count);
	return true;
}

/* From the file's position to its end, which moves there. Kernels before 5.9 tell the mode alone: that a first filter was
 * added, not that another one was. */
static bool read_filters(const struct os_file *status, uint64_t *filters)
{
	struct told told = { 0 };
	bool whole = lines_read(status->number, line_visit, &told) == 0;

	*filters = told.mode << 32 | told.count;
	return whole && told.any;
}

static bool rewind_to_start(const struct os_file *status)
{
	return SYSCALL3(SYS_lseek, status->number, 0, SEEK_SET) == 0;
}

/* ---- The file that guards ---- */

static bool may_write_files(size_t bytes)
{
	struct rlimit limit;

	/* Beyond it SIGXFSZ would be sent. */
	return !syscall_failed(SYSCALL4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit)) && limit.rlim_cur >= bytes;
}

static bool guard_open(struct os_filters *filters)
{
	long file = SYSCALL2(SYS_memfd_create, "quarry", MEMFD_CLOEXEC | MEMFD_NOEXEC_SEAL);

	if (file == -EINVAL)
		file = SYSCALL2(SYS_memfd_create, "quarry", MEMFD_CLOEXEC);
	if (syscall_failed(file))
		return false;
	os_random(filters->secret, sizeof(filters->secret));
	bool written = SYSCALL4(SYS_pwrite64, file, filters->secret, sizeof(filters->secret), 0) == (long)sizeof(filters->secret);
	return os_file_take(&filters->guard, (int)file, filters->status.number + 1) && written;
}

/* The word is as expected: told by the kernel, because what is no longer ours may end before it. Nobody waits there who
 * could be woken or moved. */
static bool word_is(const _Atomic uint32_t *word, uint32_t expected)
{
	return SYSCALL6(SYS_futex, word, FUTEX_CMP_REQUEUE_PRIVATE_OP, 0, 0, word, expected) == 0;
}

enum guard { GUARD_STANDS, GUARD_IS_GONE, GUARD_IS_UNKNOWN };

static enum guard guard_look(const struct os_filters *filters)
{
	size_t bytes = os_kernel_page_bytes();
	long mapped = SYSCALL6(SYS_mmap, NULL, bytes, PROT_READ, MAP_SHARED, filters->guard.number, 0);

	if (syscall_failed(mapped))
		return mapped == -ENOMEM || mapped == -EAGAIN ? GUARD_IS_UNKNOWN : GUARD_IS_GONE;
	const _Atomic uint32_t *words = (const _Atomic uint32_t *)mapped;
	bool stands = true;
	for (size_t i = 0; stands && i < sizeof(filters->secret) / sizeof(filters->secret[0]); i++)
		stands = word_is(&words[i], filters->secret[i]);
	SYSCALL2(SYS_munmap, mapped, bytes);
	return stands ? GUARD_STANDS : GUARD_IS_GONE;
}

/* ---- Both ---- */

/* As they are now. To read it takes a fifth of all this, and most processes have none. */
static bool learn_filters(struct os_filters *filters)
{
	return SYSCALL1(SYS_prctl, PR_GET_SECCOMP) == 0 ||
	       (read_filters(&filters->status, &filters->known) && rewind_to_start(&filters->status));
}

bool os_filters_open(struct os_filters *filters)
{
	*filters = (struct os_filters){ 0 };
	if (!may_write_files(sizeof(filters->secret)) || !os_file_open(&filters->status, "/proc/thread-self/status"))
		return false;
	if (guard_open(filters) && guard_look(filters) == GUARD_STANDS && learn_filters(filters))
		return true;
	os_filters_close(filters);
	return false;
}

enum os_filters_change os_filters_look(const struct os_filters *filters)
{
	uint64_t now;

	switch (guard_look(filters)) {
	case GUARD_IS_UNKNOWN: return OS_FILTERS_UNKNOWN;
	case GUARD_IS_GONE: return OS_FILTERS_LOST;
	case GUARD_STANDS: break;
	}
	if (!read_filters(&filters->status, &now))
		return OS_FILTERS_LOST;
	if (now != filters->known)
		return OS_FILTERS_ADDED;
	return rewind_to_start(&filters->status) ? OS_FILTERS_SAME : OS_FILTERS_LOST;
}

void os_filters_close(struct os_filters *filters)
{
	os_file_close(&filters->status);
	os_file_close(&filters->guard);
}

/* Files of the kernel's that stay open: see os.h. */
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/resource.h>

#include "base/bits.h"
#include "os/os.h"
#include "os/syscall.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* Numbers from here on, whatever the limit: the kernel's table has a pointer for each number up to the highest, and
 * every fork copies it. */
#define NUMBERS_MAX 1024
/* So many below the limit, at most, are for us. */
#define NUMBERS_OURS 24
/* With a limit below this the program needs all that there are. */
#define NUMBERS_MIN 64

static long lowest_number(void)
{
	struct rlimit limit;

	if (syscall_failed(SYSCALL4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit)) || limit.rlim_cur < NUMBERS_MIN)
		return -1;
	return (long)min_size(limit.rlim_cur, NUMBERS_MAX) - NUMBERS_OURS;
}

static bool identify(struct os_file *file)
{
	struct statx status;

	if (syscall_failed(SYSCALL5(SYS_statx, file->number, "", AT_EMPTY_PATH, STATX_INO, &status)))
		return false;
	file->device = (uint64_t)status.stx_dev_major << 32 | status.stx_dev_minor;
	file->inode = status.stx_ino;
	return true;
}

bool os_file_open(struct os_file *file, const char *path)
{
	long lowest = lowest_number();

	file->number = 0;
	if (lowest < 0)
		return false;
	long low = SYSCALL4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
	if (syscall_failed(low))
		return false;
	long high = SYSCALL3(SYS_fcntl, low, F_DUPFD_CLOEXEC, lowest);
	SYSCALL1(SYS_close, low);
	if (syscall_failed(high))
		return false;
	file->number = (int)high;
	if (identify(file))
		return true;
	SYSCALL1(SYS_close, high);
	file->number = 0;
	return false;
}

long os_file_read(const struct os_file *file, void *buffer, size_t capacity, uint64_t offset)
{
	return SYSCALL4(SYS_pread64, file->number, buffer, capacity, offset);
}

void os_file_close(struct os_file *file)
{
	struct os_file now = *file;

	if (file->number != 0 && identify(&now) && now.device == file->device && now.inode == file->inode)
		SYSCALL1(SYS_close, file->number);
	file->number = 0;
}

/* Files: see os.h and base/port.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/bits.h"
#include "base/port.h"
#include "os/fault.h"
#include "os/lines.h"
#include "os/os.h"
#include "os/syscall.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* statx(2): the kernel's structure, as far as it is used here. */
struct status {
	uint32_t mask;
	uint32_t others[7];
	uint64_t inode;
	uint64_t more[11];
	uint32_t special_major, special_minor;
	uint32_t device_major, device_minor;
	uint64_t rest[14];
};
_Static_assert(offsetof(struct status, inode) == 0x20 && offsetof(struct status, device_major) == 0x88 &&
               sizeof(struct status) == 0x100, "as the kernel writes it");
enum { STATUS_INODE = 0x100 };

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

static bool identify_at(struct os_file *file, int folder, const char *path, int flags)
{
	struct status status;

	if (syscall_failed(SYSCALL5(SYS_statx, folder, path, flags, STATUS_INODE, &status)))
		return false;
	file->device = (uint64_t)status.device_major << 32 | status.device_minor;
	file->inode = status.inode;
	return true;
}

static bool identify(struct os_file *file)
{
	return identify_at(file, file->number, "", AT_EMPTY_PATH);
}

static bool is_same(const struct os_file *one, const struct os_file *other)
{
	return one->device == other->device && one->inode == other->inode;
}

/* Closes a number if it still is this file. */
static void close_if(int number, const struct os_file *file)
{
	struct os_file now = { .number = number };

	if (identify(&now) && is_same(&now, file))
		SYSCALL1(SYS_close, number);
}

/* Gives what was just opened as `low` a number from `lowest` on. The program may have put a file of its own in the place of
 * the low number meanwhile, by dup2: that is not closed, and what was duplicated not read. `named` is NULL where it isn't
 * known what was opened. */
static bool move_up(struct os_file *file, long low, long lowest, const struct os_file *named)
{
	long high = SYSCALL3(SYS_fcntl, low, F_DUPFD_CLOEXEC, lowest);

	if (named != NULL)
		close_if((int)low, named);
	else
		SYSCALL1(SYS_close, low);
	if (syscall_failed(high))
		return false;
	file->number = (int)high;
	if (named != NULL && identify(file) && is_same(file, named))
		return true;
	/* Ours, whatever it is. */
	SYSCALL1(SYS_close, high);
	file->number = 0;
	return false;
}

bool os_file_open(struct os_file *file, const char *path)
{
	long lowest = lowest_number();
	struct os_file named = { 0 };

	file->number = 0;
	if (lowest < 0)
		return false;
	long low = syscall_open_read(path, 0);
	if (syscall_failed(low))
		return false;
	return move_up(file, low, lowest, identify_at(&named, AT_FDCWD, path, 0) ? &named : NULL);
}

bool os_file_take(struct os_file *file, int number, int lowest)
{
	struct os_file taken = { .number = number };

	file->number = 0;
	return move_up(file, number, lowest, identify(&taken) ? &taken : NULL);
}

long os_file_read(const struct os_file *file, void *buffer, size_t capacity, uint64_t offset)
{
	int error = os_fault(OS_CALL_READ);

	return error != 0 ? error : SYSCALL4(SYS_pread64, file->number, buffer, capacity, offset);
}

void os_file_close(struct os_file *file)
{
	if (file->number != 0)
		close_if(file->number, file);
	file->number = 0;
}

static long read_all(long number, char *buffer, size_t capacity)
{
	size_t length = 0;
	char more;

	for (;;) {
		bool full = length == capacity;
		long got = SYSCALL3(SYS_read, number, full ? &more : buffer + length, full ? 1 : capacity - length);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			return syscall_failed(got) ? got : (long)length;
		if (full)
			return -EFBIG;
		length += (size_t)got;
	}
}

long os_file_content(const char *path, void *buffer, size_t capacity)
{
	/* O_NONBLOCK: a pipe without a writer must not stop the program. */
	long number = syscall_open_read(path, O_NONBLOCK);

	if (syscall_failed(number))
		return number;
	long length = read_all(number, buffer, capacity);
	SYSCALL1(SYS_close, number);
	return length;
}

int lines_read(long file, bool (*visit)(const char *line, void *context), void *context)
{
	char buffer[4096 + 1];
	size_t have = 0;
	bool is_start = true;           /* of a line: the rest of a longer one is passed by */
	long got;

	while ((got = SYSCALL3(SYS_read, file, buffer + have, sizeof(buffer) - 1 - have)) > 0) {
		have += (size_t)got;
		char *line = buffer;
		char *end;
		while ((end = memchr(line, '\n', (size_t)(buffer + have - line))) != NULL ||
		       have - (size_t)(line - buffer) > 1024) {
			bool whole = end != NULL;
			end = whole ? end : buffer + have - 1;
			*end = 0;
			if (is_start && !visit(line, context))
				return -ENOMEM;
			is_start = whole;
			line = end + 1;
		}
		have -= (size_t)(line - buffer);
		memmove(buffer, line, have);
	}
	return (int)got;
}

/* ---- Writing ---- */

static int write_all(long file, const char *text, size_t length)
{
	int refusals = 0;

	while (length > 0) {
		long written = SYSCALL3(SYS_write, file, text, length);

		/* A non-blocking terminal that is full drains soon; one that nobody reads must not stop us. */
		if (written == -EINTR)
			continue;
		if (written == -EAGAIN && refusals++ < 10000) {
			os_pause();
			continue;
		}
		if (written <= 0)
			return written == 0 ? -EIO : (int)written;
		text += written;
		length -= (size_t)written;
	}
	return 0;
}

void port_write_error(const char *text, size_t length)
{
	write_all(2, text, length);
}

/* False of a pipe that nobody reads: the open of one that has a name fails, of one that is opened by its descriptor's
 * number in /proc it doesn't, and a write would send SIGPIPE. */
static bool is_read(long file)
{
	struct pollfd poll = { .fd = (int)file, .events = POLLOUT };
	struct timespec none = { 0 };

	return SYSCALL5(SYS_ppoll, &poll, 1, &none, NULL, 0) <= 0 || (poll.revents & POLLERR) == 0;
}

int os_file_append(const char *path, const char *bytes, size_t length)
{
	long file = os_fault(OS_CALL_OPEN);

	/* Not blocking: the open of a pipe that nobody reads fails, and doesn't wait for ever. */
	if (file == 0)
		file = SYSCALL4(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
	if (syscall_failed(file))
		return (int)file;
	int error = is_read(file) ? write_all(file, bytes, length) : -EPIPE;
	SYSCALL1(SYS_close, file);
	return error;
}

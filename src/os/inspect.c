/* What the process is made of, seen from inside: its mappings, which of their pages hold anything, its threads. See os.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "base/text.h"
#include "os/fault.h"
#include "os/lines.h"
#include "os/os.h"
#include "os/syscall.h"

/* ---- Mappings ---- */

static const char *hex_read(const char *at, uintptr_t *value)
{
	*value = 0;
	for (;; at++) {
		if (*at >= '0' && *at <= '9')
			*value = *value << 4 | (uintptr_t)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			*value = *value << 4 | (uintptr_t)(*at - 'a' + 10);
		else
			return at;
	}
}

/* "7f0000000000-7f0000001000 rw-p ..." */
static bool mapping_read(const char *line, struct os_mapping *mapping)
{
	line = hex_read(line, &mapping->start);
	if (*line++ != '-')
		return false;
	line = hex_read(line, &mapping->end);
	if (strlen(line) < sizeof(" rwxp") - 1)
		return false;
	mapping->readable = line[1] == 'r';
	mapping->shared = line[4] == 's';
	mapping->is_main_stack = strstr(line, " [stack]") != NULL;
	return true;
}

struct mappings {
	bool (*visit)(const struct os_mapping *mapping, void *context);
	void *context;
};

static bool mapping_visit(const char *line, void *context)
{
	const struct mappings *mappings = context;
	struct os_mapping mapping;

	return !mapping_read(line, &mapping) || mappings->visit(&mapping, mappings->context);
}

int os_mappings(bool (*visit)(const struct os_mapping *mapping, void *context), void *context)
{
	struct mappings mappings = { visit, context };
	long file = syscall_open_read("/proc/self/maps", 0);

	if (syscall_failed(file))
		return (int)file;
	/* A line has 73 characters before its path, which may be cut. */
	int error = lines_read(file, mapping_visit, &mappings);
	SYSCALL1(SYS_close, file);
	return error;
}

/* ---- Pages ---- */

/* Bits of an entry of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define PAGE_PRESENT ((uint64_t)1 << 63)
#define PAGE_SWAPPED ((uint64_t)1 << 62)
#define PAGE_OF_FILE ((uint64_t)1 << 61)

int os_pages_open(void)
{
	return (int)syscall_open_read("/proc/self/pagemap", 0);
}

void os_pages_close(int file)
{
	if (file >= 0)
		SYSCALL1(SYS_close, file);
}

size_t os_pages_own(int file, uintptr_t start, size_t pages, unsigned char *own)
{
	uint64_t entries[256];

	if (os_fault(OS_CALL_READ) != 0)
		return 0;
	if (pages > sizeof(entries) / sizeof(entries[0]))
		pages = sizeof(entries) / sizeof(entries[0]);
	long got = SYSCALL4(SYS_pread64, file, entries, pages * sizeof(entries[0]), start / os_kernel_page_bytes() * sizeof(entries[0]));
	if (got <= 0)
		return 0;
	pages = (size_t)got / sizeof(entries[0]);
	for (size_t i = 0; i < pages; i++)
		own[i] = (entries[i] & (PAGE_PRESENT | PAGE_SWAPPED)) != 0 && (entries[i] & PAGE_OF_FILE) == 0;
	return pages;
}

size_t os_copy(void *to, uintptr_t from, size_t bytes)
{
	size_t copied = 0;

	if (os_fault(OS_CALL_COPY) != 0)
		return 0;
	/* The kernel copies page by page, and says how far it came. */
	while (copied < bytes) {
		struct iovec local = { (char *)to + copied, bytes - copied };
		struct iovec remote = { (void *)(from + copied), bytes - copied };
		long got = SYSCALL6(SYS_process_vm_readv, os_process_id(), &local, 1, &remote, 1, 0);
		if (got <= 0)
			break;
		copied += (size_t)got;
	}
	return copied;
}

/* ---- Threads ---- */

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

static int number_read(const char *text)
{
	int number = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (*text - '0');
	return *text == 0 ? number : 0;
}

long os_threads(int *ids, size_t most)
{
	ALIGNED(8) char buffer[2048];
	long count = 0;
	long got;
	long folder = syscall_open_read("/proc/self/task", O_DIRECTORY);

	if (syscall_failed(folder))
		return folder;
	while ((got = SYSCALL3(SYS_getdents64, folder, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < got;) {
			const struct directory_entry *entry = (const struct directory_entry *)(const void *)(buffer + at);
			int id = number_read(entry->name);
			at += entry->bytes;
			if (id > 0 && (size_t)count < most)
				ids[count] = id;
			count += id > 0;
		}
	SYSCALL1(SYS_close, folder);
	return got < 0 ? got : count;
}

struct thread_status {
	uintptr_t blocked;
	bool is_known;
	bool has_ended;
};

static bool status_visit(const char *line, void *context)
{
	static const char blocked[] = "SigBlk:\t";
	static const char ended[] = "State:\tZ";
	struct thread_status *status = context;

	if (strncmp(line, blocked, sizeof(blocked) - 1) == 0) {
		hex_read(line + sizeof(blocked) - 1, &status->blocked);
		status->is_known = true;
	}
	status->has_ended |= strncmp(line, ended, sizeof(ended) - 1) == 0;
	return true;
}

bool os_thread_blocks(int id, uint64_t *signals)
{
	char path[64];
	struct text text = text_over(path, sizeof(path));
	struct thread_status status = { 0 };

	text_format(&text, "/proc/self/task/%u/status", (uint64_t)(unsigned)id);
	long file = syscall_open_read(path, 0);
	if (syscall_failed(file))
		return false;
	bool whole = lines_read(file, status_visit, &status) == 0;
	SYSCALL1(SYS_close, file);
	if (!whole || !status.is_known || status.has_ended)
		return false;
	*signals = status.blocked;
	return true;
}

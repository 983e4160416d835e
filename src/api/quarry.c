/* The public functions under Quarry's own names: see quarry/quarry.h. One forwarding line each. */
#include "quarry/quarry.h"

#include <errno.h>

#include "api/aligned.h"
#include "api/fast.h"
#include "api/init.h"
#include "api/resize.h"
#include "api/shortage.h"
#include "api/secret.h"
#include "api/trim.h"
#include "base/bits.h"
#include "guard/report.h"
#include "observe/leaks.h"
#include "observe/stats.h"
#include "observe/walk.h"

void *quarry_malloc(size_t size) { return fast_allocate(size); }
void quarry_free(void *block) { fast_release(block, "quarry_free"); }
void quarry_free_sized(void *block, size_t size) { fast_release_said(block, size, 0, "quarry_free_sized"); }
void *quarry_calloc(size_t count, size_t size) { return aligned_calloc(count, size); }
void *quarry_realloc(void *block, size_t size) { return resize(block, size, "quarry_realloc"); }
void *quarry_aligned_alloc(size_t alignment, size_t size) { return aligned_memalign(alignment, size); }
void *quarry_memalign(size_t alignment, size_t size) { return aligned_memalign(alignment, size); }
int quarry_posix_memalign(void **block, size_t alignment, size_t size) { return aligned_posix(block, alignment, size); }
void *quarry_valloc(size_t size) { return aligned_valloc(size); }
void *quarry_pvalloc(size_t size) { return aligned_pvalloc(size); }
size_t quarry_usable_size(const void *block) { return usable_size(block, "quarry_usable_size"); }
size_t quarry_good_size(size_t size) { return good_size(size); }
size_t quarry_trim(size_t keep_bytes) { return trim(QUARRY_PURGE_ALL, keep_bytes, true); }
struct quarry_description quarry_describe(const void *address) { return walk_describe(address); }
size_t quarry_stats_json(char *buffer, size_t capacity) { return stats_json(buffer, capacity); }

void quarry_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	fast_release_said(block, size, alignment, "quarry_free_aligned_sized");
}

void *quarry_reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	return multiply_checked(count, size, &bytes) ? resize(block, bytes, "quarry_reallocarray") : allocate_failed();
}

size_t quarry_purge(unsigned flags)
{
	if (flags != 0 && (flags & ~(unsigned)QUARRY_PURGE_ALL) == 0)
		return trim(flags, 0, false);
	errno = EINVAL;
	return 0;
}

int quarry_walk(int (*visit)(void *block, size_t size, void *context), void *context)
{
	return walk_live(visit, context);
}

static int checked(int error)
{
	if (error == 0)
		return 0;
	errno = -error;
	return -1;
}

int quarry_stats(struct quarry_stats *stats) { return checked(stats_fill(stats, false)); }
int quarry_stats_measured(struct quarry_stats *stats) { return checked(stats_fill(stats, true)); }

void quarry_set_report_handler(void (*handler)(const struct quarry_report *report, void *context), void *context)
{
	report_set_handler(handler, context);
}

void quarry_set_oom_handler(bool (*handler)(size_t size, void *context), void *context)
{
	shortage_set_handler(handler, context);
}

int64_t quarry_leak_check(void)
{
	struct leaks_found found;

	init_ensure();
	int error = guarded_on ? leaks_check("quarry_leak_check", true, &found) : -ENOTSUP;
	return checked(error) == 0 ? (int64_t)found.lost_blocks : -1;
}

void *quarry_secure_alloc(size_t size)
{
	void *block;

	init_ensure();
	return checked(secret_make(size, &block)) == 0 ? block : NULL;
}

void quarry_secure_free(void *block) { secret_free(block); }

const char *quarry_version(void)
{
	return QUARRY_VERSION;
}

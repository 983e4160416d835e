/* The aligned forms, and calloc: see aligned.h. */
#include "api/aligned.h"

#include <errno.h>

#include "api/allocate.h"
#include "base/bits.h"
#include "os/os.h"

#define ALIGNMENT_MAX (SIZE_MAX / 2 + 1)

void *aligned_memalign(size_t alignment, size_t size)
{
	if (alignment > ALIGNMENT_MAX) {
		errno = EINVAL;
		return NULL;
	}
	return allocate_aligned(power_of_two_ceil(alignment), size);
}

int aligned_posix(void **block, size_t alignment, size_t size)
{
	int saved_errno = errno;

	if (alignment % sizeof(void *) != 0 || !is_power_of_two(alignment))
		return EINVAL;
	void *result = allocate_aligned(alignment, size);
	errno = saved_errno;
	if (result == NULL)
		return ENOMEM;
	*block = result;
	return 0;
}

void *aligned_valloc(size_t size)
{
	return allocate_aligned(os_page_bytes(), size);
}

void *aligned_pvalloc(size_t size)
{
	size_t page = os_page_bytes();

	if (size > SIZE_MAX - page)
		return allocate_failed();
	return allocate_aligned(page, ROUND_UP(size, page));
}

void *aligned_calloc(size_t count, size_t size)
{
	size_t bytes;

	if (UNLIKELY(!multiply_checked(count, size, &bytes)))
		return allocate_failed();
	return allocate_zeroed(bytes);
}

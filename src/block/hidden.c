/* Freed large blocks that stay inaccessible: see hidden.h. */
#include "block/hidden.h"

#include "base/lock.h"
#include "block/secure.h"
#include "os/os.h"

/* Blocks and bytes of address space, without memory. */
#define HIDDEN_MAX 64
#define HIDDEN_BYTES_MAX GIB

static struct {
	struct span *blocks[HIDDEN_MAX];        /* in no order */
	size_t count;
	size_t bytes;
} hidden;                                       /* under space_lock */

static size_t span_bytes(const struct span *large)
{
	return large->units * UNIT_BYTES;
}

/* With space_lock held. */
static struct span *leave(void)
{
	if (hidden.count == 0)
		return NULL;
	size_t index = chacha_below(&secure_space_random, hidden.count);
	struct span *large = hidden.blocks[index];

	hidden.blocks[index] = hidden.blocks[--hidden.count];
	hidden.bytes -= span_bytes(large);
	return large;
}

bool hidden_cover(struct span *large)
{
	return span_bytes(large) <= HIDDEN_BYTES_MAX / 2 && os_guard_install((void *)large->start, span_bytes(large)) == 0;
}

struct span *hidden_put(struct span *large)
{
	struct span *leaving = NULL;

	lock_take(&space_lock);
	if (hidden.count == HIDDEN_MAX || hidden.bytes + span_bytes(large) > HIDDEN_BYTES_MAX) {
		leaving = leave();
	} else {
		hidden.blocks[hidden.count++] = large;
		hidden.bytes += span_bytes(large);
	}
	lock_release(&space_lock);
	return leaving;
}

struct span *hidden_take(void)
{
	lock_take(&space_lock);
	struct span *large = leave();
	lock_release(&space_lock);
	return large;
}

bool hidden_uncover(struct span *large)
{
	return os_guard_remove((void *)large->start, span_bytes(large)) == 0;
}

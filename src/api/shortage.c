/* Memory can't be had: see shortage.h. First what is kept inaccessible after its free, then what is free goes back, as the
 * limit of the process may count it, or the kernel charge it; then free blocks that are kept at hand, of which whole slabs may
 * become free; then the program is asked. Mirrored by model/limit.pml. */
#include "api/shortage.h"

#include <errno.h>

#include "api/trim.h"
#include "base/text.h"
#include "block/large.h"
#include "block/secure.h"
#include "quarry/quarry.h"
#include "space/limit.h"
#include "space/purge.h"
#include "space/space.h"

/* No machine maps more; to give everything back for it would be in vain. */
#define ADDRESS_SPACE_BYTES ((size_t)1 << 48)

/* What is given back others may take before it is ours: so often at most it is tried with what is free. */
#define TRIES 8

enum { STAGE_SPANS, STAGE_CACHED, STAGE_HANDLER };

/* Both change together: under space_lock, which a fork holds. */
static shortage_handler handler;
static void *handler_context;

/* The thread is in the handler, whose own shortages are not its business. */
static _Thread_local bool handling __attribute__((tls_model("initial-exec")));

void shortage_set_handler(shortage_handler new_handler, void *context)
{
	lock_take(&space_lock);
	handler = new_handler;
	handler_context = context;
	lock_release(&space_lock);
}

static struct {
	uint64_t address_space;
	uint64_t data;
	_Atomic bool said;
} limits = { .address_space = UINT64_MAX, .data = UINT64_MAX };

void shortage_configure(uint64_t address_space, uint64_t data)
{
	limits.address_space = address_space;
	limits.data = data;
}

/* Once: who has set a limit should know that it was met. */
static void say_why(const struct shortage *shortage)
{
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));
	const char *name = "RLIMIT_DATA (ulimit -d)";
	uint64_t value = limits.data;

	if (limit_excess(shortage->needed) > 0) {
		name = "the option limit";
		value = limit_bytes();
	} else if (limits.address_space != UINT64_MAX) {
		name = "RLIMIT_AS (ulimit -v)";
		value = limits.address_space;
	}
	if (value == UINT64_MAX || shortage->needed > ADDRESS_SPACE_BYTES ||
	    atomic_exchange_explicit(&limits.said, true, memory_order_relaxed))
		return;
	text_format(&text, "quarry: out of memory: %u bytes asked for, %s is %z\n", (uint64_t)shortage->size, name, value);
	text_write_error(&text);
}

static bool handler_helps(size_t size)
{
	int saved_errno = errno;

	lock_take(&space_lock);
	shortage_handler now = handler;
	void *context = handler_context;
	lock_release(&space_lock);
	if (now == NULL || handling)
		return false;
	handling = true;
	bool helped = now(size, context);
	handling = false;
	errno = saved_errno;
	return helped;
}

static bool relieve(struct shortage *shortage)
{
	if (shortage->needed > ADDRESS_SPACE_BYTES || !limit_is_possible(shortage->needed))
		return false;
	if (secure.hides_large && large_reveal_all())
		return true;
	if (shortage->stage == STAGE_SPANS) {
		bool again = purge_for(shortage->needed);
		if (!again || ++shortage->tries == TRIES)
			shortage->stage = STAGE_CACHED;
		if (again)
			return true;
	}
	if (shortage->stage == STAGE_CACHED) {
		shortage->stage = STAGE_HANDLER;
		trim(QUARRY_PURGE_CACHED, 0, false);
		purge_for(shortage->needed);
		return true;
	}
	shortage->stage = STAGE_SPANS;
	shortage->tries = 0;
	return handler_helps(shortage->size);
}

bool shortage_relieve(struct shortage *shortage)
{
	bool relieved = relieve(shortage);

	/* The handler's own are not the program's yet. */
	if (!relieved && !handling)
		say_why(shortage);
	return relieved;
}

/* Filters: see filter.h. */
#include "guard/filter.h"

#include <stdatomic.h>
#include <string.h>

#include "guard/stack.h"
#include "os/os.h"

/* Frames of Quarry's own that may lie above the program's. */
#define OWN_FRAMES_MOST 16

bool filter_wants_size(const struct options *options, size_t size)
{
	return size >= options->guard_sizes.minimum && size <= options->guard_sizes.maximum;
}

bool filter_is_module(const char *path, const char *module)
{
	const char *name = strrchr(path, '/');
	size_t length = strlen(module);

	name = name != NULL ? name + 1 : path;
	return strncmp(name, module, length) == 0 && (name[length] == 0 || name[length] == '.');
}

static bool is_own(const void *address)
{
	return os_is_same_object(address, __func__);
}

bool filter_wants_caller(const struct options *options, const void *caller, bool *certain)
{
	*certain = true;
	if (options->guard_module[0] == 0)
		return true;
	const char *path = is_own(caller) ? NULL : os_object_name(caller);
	*certain = path != NULL;
	return path == NULL || filter_is_module(path, options->guard_module);
}

bool filter_wants_stack(const struct options *options, uint32_t stack)
{
	uintptr_t frames[OWN_FRAMES_MOST];
	size_t count = stack_frames(stack, frames, OWN_FRAMES_MOST);

	for (size_t i = 0; i < count; i++) {
		if (is_own((void *)frames[i]))
			continue;
		const char *path = os_object_name((void *)frames[i]);
		return path == NULL || filter_is_module(path, options->guard_module);
	}
	return true;
}

bool filter_turn(const struct options *options)
{
	static _Atomic uint64_t turn;

	if (options->guard_every == 1)
		return true;
	return atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed) % options->guard_every == 0;
}

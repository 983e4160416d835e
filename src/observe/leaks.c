/* Leak finding: see leaks.h. While the other threads stand still, what is lost is added up by stack in room that was made
 * before; they go on before anything is said of it. */
#include "observe/leaks.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "observe/reach.h"
#include "os/os.h"

/* Stacks that a report tells one by one. */
#define TOLD_MAX ((size_t)64)

enum { KIND_LOST, KIND_INDIRECTLY, KIND_POSSIBLY, KIND_COUNT };

/* Those told, the largest first, then one for the rest of each kind. */
struct told {
	struct report_leak leaks[TOLD_MAX + KIND_COUNT];
	size_t count;
};

/* The groups by stack and kind: open addressing, never more than half full. */
struct groups {
	struct told told;
	size_t mask;
	struct report_leak table[];
};

static _Atomic bool looking;
/* What was made before is another process's to report. */
static _Atomic uint64_t since_ns;

static size_t group_places(void)
{
	return power_of_two_ceil((size_t)2 * KIND_COUNT * (min_size(stack_depot_count(), guarded_numbers()) + 2));
}

static unsigned kind_of(const struct report_leak *leak)
{
	if (leak->possibly)
		return KIND_POSSIBLY;
	return leak->indirectly ? KIND_INDIRECTLY : KIND_LOST;
}

static void group_add(struct groups *groups, const struct report_leak *leak)
{
	size_t place = ((size_t)leak->stack * KIND_COUNT + kind_of(leak)) * 0x9e3779b97f4a7c15u >> 20;

	for (size_t i = 0; i <= groups->mask; i++, place++) {
		struct report_leak *group = &groups->table[place & groups->mask];
		if (group->blocks != 0 && (group->stack != leak->stack || kind_of(group) != kind_of(leak)))
			continue;
		uint64_t blocks = group->blocks;
		uint64_t bytes = group->bytes;
		*group = *leak;
		group->blocks += blocks;
		group->bytes += bytes;
		return;
	}
}

/* ---- While the others stand still ---- */

static void collect(struct groups *groups, struct leaks_found *found)
{
	bool deaf = reach_deaf_threads() != 0;
	uint64_t since = atomic_load_explicit(&since_ns, memory_order_relaxed);
	struct guarded_live live;

	for (size_t number = 1; number <= guarded_numbers(); number++) {
		enum reach reach = reach_of(number);
		if (reach == REACH_CERTAINLY || !guarded_live_number(number, &live) || live.allocated_ns < since)
			continue;
		struct report_leak leak = { .stack = live.allocated_by, .blocks = 1, .bytes = live.size,
			                    .possibly = deaf || reach == REACH_POSSIBLY, .indirectly = reach == REACH_INDIRECTLY };
		group_add(groups, &leak);
		*(leak.possibly ? &found->possibly_blocks : &found->lost_blocks) += 1;
		*(leak.possibly ? &found->possibly_bytes : &found->lost_bytes) += live.size;
	}
}

/* Its frame address is where the caller's registers end that it has put on its stack. */
static NOINLINE int search_and_collect(struct groups *groups, struct leaks_found *found)
{
	int error = reach_search((uintptr_t)__builtin_frame_address(0));

	if (error == 0)
		collect(groups, found);
	reach_resume();
	return error;
}

static NOINLINE int look(struct groups *groups, struct leaks_found *found)
{
	sigset_t signals;

	/* All that a caller keeps in registers is in this frame then. */
	__builtin_unwind_init();
	/* A handler of the program's could wait for what a stopped thread holds. */
	os_signals_hold(&signals);
	int error = search_and_collect(groups, found);
	os_signals_restore(&signals);
	return error;
}

/* ---- What is said ---- */

/* What is lost comes first, then by bytes; by blocks where those are none. */
static bool goes_before(const struct report_leak *one, const struct report_leak *other)
{
	if (kind_of(one) != kind_of(other))
		return kind_of(one) < kind_of(other);
	return one->bytes != other->bytes ? one->bytes > other->bytes : one->blocks > other->blocks;
}

static void add_to_rest(struct told *told, const struct report_leak *leak)
{
	struct report_leak *rest = &told->leaks[TOLD_MAX + kind_of(leak)];
	uint64_t stacks = rest->stacks + 1;
	uint64_t blocks = rest->blocks + leak->blocks;
	uint64_t bytes = rest->bytes + leak->bytes;

	*rest = *leak;
	rest->stack = 0;
	rest->stacks = stacks;
	rest->blocks = blocks;
	rest->bytes = bytes;
}

static void tell(struct told *told, const struct report_leak *leak)
{
	size_t at = told->count;

	while (at > 0 && goes_before(leak, &told->leaks[at - 1]))
		at--;
	if (told->count == TOLD_MAX)
		add_to_rest(told, at == TOLD_MAX ? leak : &told->leaks[TOLD_MAX - 1]);
	else
		told->count++;
	if (at == TOLD_MAX)
		return;
	memmove(&told->leaks[at + 1], &told->leaks[at], (told->count - at - 1) * sizeof(*leak));
	told->leaks[at] = *leak;
}

static void say(struct groups *groups, const char *call)
{
	struct told *told = &groups->told;

	for (size_t i = 0; i <= groups->mask; i++)
		if (groups->table[i].blocks != 0)
			tell(told, &groups->table[i]);
	for (size_t kind = 0; kind < KIND_COUNT; kind++)
		if (told->leaks[TOLD_MAX + kind].blocks != 0)
			told->leaks[told->count++] = told->leaks[TOLD_MAX + kind];
	report(&(struct report){ .kind = REPORT_LEAKS, .call = call, .leaks = told->leaks, .leak_count = told->count,
	                         .deaf_threads = reach_deaf_threads() });
}

int leaks_check(const char *call, bool possibly, struct leaks_found *found)
{
	memset(found, 0, sizeof(*found));
	if (atomic_exchange_explicit(&looking, true, memory_order_acquire))
		return -EBUSY;
	size_t places = group_places();
	struct groups *groups = reach_begin(sizeof(*groups) + places * sizeof(groups->table[0]));
	int error = -ENOMEM;
	if (groups != NULL) {
		groups->mask = places - 1;
		error = look(groups, found);
		if (error == 0 && (found->lost_blocks != 0 || (possibly && found->possibly_blocks != 0)))
			say(groups, call);
		reach_end();
	}
	atomic_store_explicit(&looking, false, memory_order_release);
	return error;
}

void leaks_fork_child(void)
{
	os_world_fork_child();
	atomic_store_explicit(&looking, false, memory_order_relaxed);
	atomic_store_explicit(&since_ns, os_now_ns(), memory_order_relaxed);
}

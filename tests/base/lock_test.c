/* The lock: one at a time, nobody sleeps for ever, ranks in debug builds, and the way through for the thread that forks. */
#include "model/support.h"

#include <pthread.h>
#include <sched.h>

#include "base/lock.h"

#define THREAD_COUNT 8

static struct lock first = LOCK_INIT(LOCK_RANK_SHARED_HEAP);
static struct lock second = LOCK_INIT(LOCK_RANK_SPACE);

/* ---- Mutual exclusion ---- */

/* Neither is atomic: the lock alone keeps them right. */
static size_t counter;
static bool inside;

static void *count_up(void *argument)
{
	size_t count = *(size_t *)argument;

	for (size_t i = 0; i < count; i++) {
		if (i % 3 == 0)
			while (!lock_try(&first))
				sched_yield();
		else
			lock_take(&first);
		MUST(!inside);
		inside = true;
		counter++;
		if (i % 64 == 0)
			sched_yield();          /* others spin out and sleep */
		inside = false;
		lock_release(&first);
	}
	return NULL;
}

static void test_one_at_a_time(void **state UNUSED)
{
	pthread_t threads[THREAD_COUNT];
	size_t count = rounds(40000, 500);

	counter = 0;
	for (size_t i = 0; i < THREAD_COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, &count), 0);
	for (size_t i = 0; i < THREAD_COUNT; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counter, count * THREAD_COUNT);
	assert_int_equal(first.state, 0);
}

static void *try_it(void *taken)
{
	*(bool *)taken = lock_try(&first);
	if (*(bool *)taken)
		lock_release(&first);
	return NULL;
}

static bool another_thread_gets_it(void)
{
	pthread_t thread;
	bool taken = false;

	assert_int_equal(pthread_create(&thread, NULL, try_it, &taken), 0);
	pthread_join(thread, NULL);
	return taken;
}

static void test_try(void **state UNUSED)
{
	assert_true(another_thread_gets_it());
	lock_take(&first);
	assert_false(another_thread_gets_it());
	lock_release(&first);
	assert_true(lock_try(&first));
	assert_false(another_thread_gets_it());
	lock_release(&first);
	assert_true(another_thread_gets_it());
}

static void *take_and_release(void *argument UNUSED)
{
	lock_take(&first);
	counter++;
	lock_release(&first);
	return NULL;
}

/* Sleepers, several of them, all wake. */
static void test_sleepers_wake(void **state UNUSED)
{
	pthread_t threads[THREAD_COUNT];

	for (size_t round = 0; round < rounds(50, 5); round++) {
		counter = 0;
		lock_take(&first);
		for (size_t i = 0; i < THREAD_COUNT; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, take_and_release, NULL), 0);
		/* State 2 says that one at least is about to sleep or does. */
		while (__atomic_load_n((uint32_t *)&first.state, __ATOMIC_RELAXED) != 2)
			sched_yield();
		assert_int_equal(counter, 0);
		lock_release(&first);
		for (size_t i = 0; i < THREAD_COUNT; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(counter, THREAD_COUNT);
	}
}

/* ---- Ranks ---- */

static void take_in_order(void *argument UNUSED)
{
	lock_take(&first);
	lock_take(&second);
	MUST(lock_is_held(&first) && lock_is_held(&second));
	lock_release(&first);
	lock_release(&second);
}

static void take_against_order(void *argument UNUSED)
{
	lock_take(&second);
	lock_take(&first);
}

static void try_against_order(void *argument UNUSED)
{
	lock_take(&second);
	MUST(lock_try(&first));
	lock_release(&first);
	lock_release(&second);
}

static void release_what_is_not_held(void *argument UNUSED)
{
	lock_release(&first);
}

static void test_ranks(void **state UNUSED)
{
	char said[512];

	ASSERT_EXITED(child_run(take_in_order, NULL, NULL, 0));
	ASSERT_EXITED(child_run(try_against_order, NULL, NULL, 0));
#ifdef QUARRY_DEBUG
	void (*const wrong[])(void *) = { take_against_order, release_what_is_not_held };
	for (size_t i = 0; i < 2; i++) {
		int status = child_run(wrong[i], NULL, said, sizeof(said));
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		assert_non_null(strstr(said, "quarry: fatal: check failed: "));
		assert_non_null(strstr(said, "ranks_held"));
	}
	lock_take(&first);
	assert_true(lock_is_held(&first));
	assert_false(lock_is_held(&second));
	lock_release(&first);
	assert_false(lock_is_held(&first));
#else
	(void)said, (void)take_against_order, (void)release_what_is_not_held;
	print_message("# skipped: ranks are checked in debug builds only\n");
	skip();
#endif
}

/* ---- Fork ---- */

static void *pass_through(void *argument UNUSED)
{
	lock_take(&first);
	lock_release(&first);
	return NULL;
}

static void test_way_through(void **state UNUSED)
{
	pthread_t thread;

	lock_take(&first);
	lock_take(&second);
	lock_fork_begin();
	for (size_t i = 0; i < 3; i++) {
		/* In any order, also nested: nothing changes. */
		lock_take(&second);
		lock_take(&first);
		assert_true(lock_try(&first));
		lock_release(&first);
		lock_release(&first);
		lock_release(&second);
		assert_int_not_equal(first.state, 0);
		assert_int_not_equal(second.state, 0);
	}
	/* It is this thread's alone. */
	assert_false(another_thread_gets_it());
	assert_int_equal(pthread_create(&thread, NULL, pass_through, NULL), 0);
	while (__atomic_load_n((uint32_t *)&first.state, __ATOMIC_RELAXED) != 2)
		sched_yield();
	lock_fork_end();
	lock_release(&second);
	lock_release(&first);
	pthread_join(thread, NULL);
	assert_true(another_thread_gets_it());
}

static void reset_and_use(void *argument UNUSED)
{
	lock_fork_end();
	lock_reset(&second);
	lock_reset(&first);
	MUST(first.state == 0 && second.state == 0);
	take_in_order(NULL);
	MUST(THREAD_SANITIZED || another_thread_gets_it());
}

/* The child finds its locks free, also one that somebody slept for. */
static void test_reset_in_child(void **state UNUSED)
{
	SKIP_EMULATED("a child of a program with threads can't start any");
	pthread_t thread;

	lock_take(&first);
	lock_take(&second);
	assert_int_equal(pthread_create(&thread, NULL, pass_through, NULL), 0);
	while (__atomic_load_n((uint32_t *)&first.state, __ATOMIC_RELAXED) != 2)
		sched_yield();
	lock_fork_begin();
	int status = child_run(reset_and_use, NULL, NULL, 0);
	lock_fork_end();
	lock_release(&second);
	lock_release(&first);
	pthread_join(thread, NULL);
	ASSERT_EXITED(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_sleepers_wake),
		cmocka_unit_test(test_ranks),
		cmocka_unit_test(test_way_through),
		cmocka_unit_test(test_reset_in_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

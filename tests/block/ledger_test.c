/* The ledger: counting and finding against a naive model, the claim, the token, and the epoch that voids both. */
#include "model/support.h"

#include <pthread.h>

#include "block/ledger_word.h"

#define LEDGER_BYTES_HERE ((size_t)96)

static ledger_byte ledger[LEDGER_BYTES_HERE] ALIGNED(8);

static void draw(struct random *random, unsigned favoured)
{
	for (size_t i = 0; i < LEDGER_BYTES_HERE; i++)
		ledger_set(&ledger[i], (uint8_t)(random_below(random, 3) == 0 ? random_below(random, 5) : favoured));
}

static void check_range(size_t first, size_t end)
{
	size_t count[5] = { 0 };

	for (size_t i = first; i < end; i++)
		count[ledger_get(&ledger[i])]++;
	assert_int_equal(ledger_count_free(ledger, first, end - first), count[LEDGER_FREE]);
	assert_int_equal(ledger_count_live(ledger, first, end - first), count[LEDGER_LIVE]);
	assert_int_equal(ledger_count_cached(ledger, first, end - first), count[LEDGER_CACHED] + count[LEDGER_CACHED_ZERO]);
}

static void test_every_range(void **state UNUSED)
{
	struct random random = random_start(6);

	for (unsigned favoured = 0; favoured < 5; favoured++)
		for (size_t round = 0; round < rounds(40, 2); round++) {
			draw(&random, favoured);
			for (size_t first = 0; first < LEDGER_BYTES_HERE; first++)
				for (size_t end = first; end <= LEDGER_BYTES_HERE; end++)
					check_range(first, end);
		}
}

/* What a word gives, against a naive model. */
static void check_take(size_t at, size_t wanted, size_t fresh_index)
{
	uint8_t before[LEDGER_WORD_BYTES];
	uint64_t expected = 0;
	size_t free_bytes = 0;
	size_t got = 0;

	for (size_t i = 0; i < LEDGER_WORD_BYTES; i++) {
		before[i] = ledger_get(&ledger[at + i]);
		free_bytes += before[i] == LEDGER_FREE;
	}
	bool whole = free_bytes == LEDGER_WORD_BYTES && (at + LEDGER_WORD_BYTES <= fresh_index || at >= fresh_index) &&
	             wanted >= LEDGER_WORD_BYTES;
	assert_int_equal(wanted >= LEDGER_WORD_BYTES && word_take_whole(ledger, at, fresh_index, LEDGER_CACHED_ZERO), whole);
	uint64_t taken = whole ? LEDGER_ONES : word_take(ledger, at, wanted, fresh_index, LEDGER_CACHED_ZERO);
	for (size_t i = 0; i < LEDGER_WORD_BYTES; i++) {
		bool takes = before[i] == LEDGER_FREE && got < wanted;
		uint8_t state = at + i < fresh_index ? LEDGER_CACHED : LEDGER_CACHED_ZERO;
		assert_int_equal(ledger_get(&ledger[at + i]), takes ? state : before[i]);
		expected |= (uint64_t)takes << i * 8;
		got += takes;
	}
	assert_int_equal(taken, expected);
}

static void test_take(void **state UNUSED)
{
	struct random random = random_start(7);

	for (size_t round = 0; round < rounds(20000, 200); round++) {
		draw(&random, (unsigned)random_below(&random, 2));
		if (random_below(&random, 4) == 0)
			memset((void *)ledger, LEDGER_FREE, LEDGER_BYTES_HERE);
		check_take(random_below(&random, LEDGER_BYTES_HERE / 8) * 8, 1 + random_below(&random, 20),
		           random_below(&random, LEDGER_BYTES_HERE + 1));
	}
}

/* All of one state: nothing else is counted, and no count overflows a byte. */
static void test_one_state(void **state UNUSED)
{
	static ledger_byte large[4104] ALIGNED(8);

	for (unsigned value = 0; value < 5; value++) {
		for (size_t i = 0; i < sizeof(large); i++)
			ledger_set(&large[i], (uint8_t)value);
		assert_int_equal(ledger_count_free(large, 1, 4100), value == LEDGER_FREE ? 4100 : 0);
		assert_int_equal(ledger_count_live(large, 1, 4100), value == LEDGER_LIVE ? 4100 : 0);
		assert_int_equal(ledger_count_cached(large, 1, 4100),
		                 value == LEDGER_CACHED || value == LEDGER_CACHED_ZERO ? 4100 : 0);
	}
}

static void test_end_of_life(void **state UNUSED)
{
	for (uint8_t from = 0; from < 5; from++)
		for (uint8_t to = 0; to < 3; to++) {
			ledger_set(&ledger[0], from);
			assert_int_equal(ledger_end_life(&ledger[0], to), from == LEDGER_LIVE);
			assert_int_equal(ledger_get(&ledger[0]), from == LEDGER_LIVE ? to : from);
		}
	ledger_set_free(&ledger[0]);
	assert_int_equal(ledger_get(&ledger[0]), LEDGER_FREE);
}

/* ---- Claim and token ---- */

static struct span slab;

static void new_epoch(void)
{
	atomic_store(&ledger_epoch, epoch_now() + 1);
}

static void test_claim(void **state UNUSED)
{
	assert_true(claim_try(&slab));
	assert_false(claim_try(&slab));
	claim_release(&slab);
	assert_true(claim_try(&slab));
	/* Who held it in another epoch is no more. */
	new_epoch();
	assert_true(claim_try(&slab));
	assert_false(claim_try(&slab));
	claim_release(&slab);
}

static void test_notification(void **state UNUSED)
{
	assert_true(notification_set(&slab));
	assert_false(notification_set(&slab));
	notification_clear(&slab);
	assert_true(notification_set(&slab));
	new_epoch();
	assert_true(notification_set(&slab));
	assert_false(notification_set(&slab));
	notification_clear(&slab);
}

/* Not atomic: the claim keeps it. */
static size_t claimed_count;
static _Atomic size_t claims;
static _Atomic size_t announcements;

static void *claim_all_the_time(void *argument)
{
	for (size_t i = 0, count = *(size_t *)argument; i < count; i++) {
		if (claim_try(&slab)) {
			claimed_count++;
			atomic_fetch_add(&claims, 1);
			claim_release(&slab);
		}
		if (notification_set(&slab)) {
			/* One at a time has the token: the one who set it clears it. */
			MUST(atomic_fetch_add(&announcements, 1) == 0);
			atomic_fetch_sub(&announcements, 1);
			notification_clear(&slab);
		}
	}
	return NULL;
}

static void test_one_at_a_time(void **state UNUSED)
{
	pthread_t threads[4];
	size_t count = rounds(400000, 5000);

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, claim_all_the_time, &count), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(claimed_count, claims);
	assert_true(claims > 0);
}

/* Each life ends once, whoever else tries. */
static _Atomic size_t ended;

static void *end_lives(void *argument UNUSED)
{
	for (size_t i = 0; i < LEDGER_BYTES_HERE; i++)
		if (ledger_end_life(&ledger[i], LEDGER_FREE))
			atomic_fetch_add(&ended, 1);
	return NULL;
}

static void test_one_end(void **state UNUSED)
{
	pthread_t threads[4];
	size_t count = rounds(500, 20);

	ended = 0;
	for (size_t round = 0; round < count; round++) {
		for (size_t i = 0; i < LEDGER_BYTES_HERE; i++)
			ledger_set(&ledger[i], LEDGER_LIVE);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, end_lives, NULL), 0);
		for (size_t i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	assert_int_equal(ended, count * LEDGER_BYTES_HERE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_range),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_one_state),
		cmocka_unit_test(test_end_of_life),
		cmocka_unit_test(test_claim),
		cmocka_unit_test(test_notification),
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_one_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The security levels' settings: see secure.h. */
#include "block/secure.h"

#include "os/os.h"
#include "space/space.h"

/* A guard must leave most of a unit to blocks. */
#define GUARDS_PER_UNIT_MIN 16

/* The more places, the farther apart blocks lie that were asked for one after another: what a program that walks through its
 * structures in the order in which it built them pays is half with 16 of what it is with 32 (doc/performance.md). */
#define CHOICE_MAX_LEVEL_1 16
#define CHOICE_MAX_LEVEL_2 32

struct secure secure;
struct chacha secure_space_random;

bool secure_doubtful;
/* Under the locks that a fork takes. */
static bool forks_threads;

/* The process's own stream, from which all others are keyed. Under no lock: its key is immutable, and who asks has a number
 * of his own. */
static struct chacha root;
static _Atomic uint64_t streams;

static bool is_on(unsigned choice, bool by_level)
{
	return choice == OPTION_switch_level ? by_level : choice == OPTION_switch_on;
}

void secure_random_start(struct chacha *random)
{
	uint64_t number = atomic_fetch_add_explicit(&streams, 1, memory_order_relaxed) + 1;

	chacha_start(random, root.key, number);
	/* A key of its own: what one heap's numbers tell is nothing about another's. */
	uint32_t key[CHACHA_KEY_WORDS];
	chacha_more(random);
	memcpy(key, random->bytes, sizeof(key));
	chacha_start(random, key, number);
}

void secure_fork_prepare(bool single_threaded)
{
	forks_threads = !single_threaded;
}

void secure_fork_child(void)
{
	secure_doubtful |= forks_threads;
	if (secure.on)
		chacha_turn(&secure_space_random, os_now_ns());
}

static bool has_wide_vectors(void)
{
#if defined(SECURE_WIDE)
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

void secure_configure(const struct options *options)
{
	unsigned level = options->secure;
	uint32_t key[CHACHA_KEY_WORDS];
	struct chacha keys;

	if (level == 0)
		return;
	os_random(key, sizeof(key));
	chacha_start(&root, key, 0);
	secure_random_start(&keys);
	secure_random_start(&secure_space_random);
	secure.single_threaded = os_single_threaded_flag();
	secure.zero = is_on(options->secure_zero, true);
	secure.verify = secure.zero && is_on(options->secure_verify, true);
	secure.canary = is_on(options->secure_canary, true);
	secure.rest = secure.canary && secure.zero && level >= 2;
	secure.random = is_on(options->secure_random, true);
	secure.choice_max = level >= 2 ? CHOICE_MAX_LEVEL_2 : CHOICE_MAX_LEVEL_1;
	secure.hides_large = is_on(options->secure_large, level >= 2);
	secure.said = is_on(options->secure_said, level >= 2);
	secure.guards = options->secure_guards != OPTION_secure_guards_level ? (uint8_t)(options->secure_guards - 1)
	                : level >= 2                                         ? SECURE_GUARDS_AROUND
	                                                                     : SECURE_GUARDS_BEHIND;
	if (os_page_bytes() * GUARDS_PER_UNIT_MIN <= UNIT_BYTES && os_has_guards())
		secure.guard_bytes = os_page_bytes();
	else
		secure.guards = SECURE_GUARDS_NONE;
	secure.canary_bytes = secure.canary ? CANARY_BYTES : 0;
	secure.large_lead_bytes = secure.guards == SECURE_GUARDS_AROUND ? secure.guard_bytes : 0;
	secure.large_trailer_bytes = secure.large_lead_bytes + secure.canary_bytes;
	if (level >= 2 && options->secure_quarantine_blocks > 0) {
		secure.quarantine_bytes = options->secure_quarantine;
		secure.quarantine_blocks = options->secure_quarantine_blocks;
	}
	secure.wide = has_wide_vectors();
	secure.keys[0] = chacha_64(&keys);
	secure.keys[1] = chacha_64(&keys) | 1;
	secure.quick = secure.verify && secure.canary && secure.random && !secure.said && secure.quarantine_bytes == 0;
	for (unsigned i = 0; i < SECURE_QUICK_CLASSES; i++) {
		secure.quick_classes[i].bytes = (uint16_t)size_classes[i].size;
		secure.quick_classes[i].slack_at = (uint16_t)(size_classes[i].ledger_bytes + sizeof(uint64_t));
		secure.quick_classes[i].choice = (uint16_t)secure_choice(i);
	}
	secure.on = true;
}

void secure_guarded(void)
{
	secure.quick = false;
}

size_t secure_slack_changed(const void *block, size_t asked, size_t bytes)
{
	const unsigned char *at = block;
	uint64_t canary = secure_canary(block);

	for (size_t i = 0; i < sizeof(canary); i++)
		if (at[asked + i] != (unsigned char)(canary >> i * 8))
			return asked + i;
	return asked + sizeof(canary) + secure_first_nonzero(at + asked + sizeof(canary), bytes - asked - sizeof(canary));
}

#if defined(SECURE_WIDE)
static SECURE_WIDE bool is_zero_wide(const void *block, size_t bytes)
{
	return secure_is_zero_long_wide(block, bytes);
}
#endif

bool secure_is_zero(const void *block, size_t bytes)
{
#if defined(SECURE_WIDE)
	if (LIKELY(secure.wide))
		return is_zero_wide(block, bytes);
#endif
	return secure_is_zero_long(block, bytes);
}

size_t secure_first_nonzero(const void *block, size_t bytes)
{
	const unsigned char *at = block;
	size_t i = 0;

	while (i < bytes && at[i] == 0)
		i++;
	return i;
}

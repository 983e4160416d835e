/* The start: see init.h. */
#include "api/init.h"

#include <pthread.h>

#include "api/shortage.h"
#include "base/bits.h"
#include "base/config.h"
#include "base/lock.h"
#include "base/memcheck.h"
#include "base/text.h"
#include "block/secure.h"
#include "block/sweep.h"
#include "guard/fault.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "guard/stack.h"
#include "observe/leaks.h"
#include "observe/stats.h"
#include "os/os.h"
#include "quarry/quarry.h"
#include "space/huge.h"
#include "space/limit.h"
#include "space/purge.h"
#include "space/region.h"
#include "thread/fork.h"
#include "thread/life.h"
#include "thread/sample.h"
#include "thread/scavenger.h"

/* Enough for every option to be wrong, or for help. */
#define MESSAGE_BYTES 12288

struct sealed sealed;
_Atomic bool init_done;

static struct lock init_lock = LOCK_INIT(LOCK_RANK_INIT);

/* The longest path that is looked at. */
#define PATH_BYTES 4096

/* Only touched where there is such a file. */
static char config_text[CONFIG_BYTES_MAX];

static void config_read(struct options *options, const struct config_file *file, struct text *complaints)
{
	long length = os_file_content(file->path, config_text, sizeof(config_text));

	if (length < 0)
		config_unread(file, (int)-length, complaints);
	else
		config_parse(options, config_text, (size_t)length, os_program_path(), file, complaints);
}

static void configs_read(struct options *options, bool secure, struct text *complaints)
{
	char path[PATH_BYTES];
	struct config_file files[2];
	const struct config_environment environment = {
		.secure = secure,
		.named = os_environment("QUARRY_CONFIG"),
		.configuration = os_environment("XDG_CONFIG_HOME"),
		.home = os_environment("HOME"),
	};
	size_t count = config_files(&environment, files, path, sizeof(path));

	for (size_t i = 0; i < count; i++)
		config_read(options, &files[i], complaints);
}

/* Tells why, where the program can still see it. */
static void options_read(struct options *options)
{
	char buffer[MESSAGE_BYTES];
	struct text text = text_over(buffer, sizeof(buffer));
	bool secure = os_is_secure();
	const char *environment = secure ? NULL : os_environment("QUARRY_OPTIONS");

	/* Weak, so the address is NULL in most programs; compilers take an array's address for never NULL. */
	const char *program = quarry_options;
	__asm__("" : "+r"(program));

	options_reset(options);
	if (program != NULL)
		options_parse(options, program, OPTION_FROM_PROGRAM, &text);
	configs_read(options, secure, &text);
	if (environment != NULL)
		options_parse(options, environment, OPTION_FROM_ENVIRONMENT, &text);
	if (options->help)
		options_help_text(&text);
	if (options->confirm)
		options_confirm_text(options, &text);
	text_write_error(&text);
}

static enum huge huge_wish(unsigned thp)
{
	if (thp == OPTION_thp_always)
		return HUGE_WANTED;
	return thp == OPTION_thp_system ? HUGE_AS_SYSTEM : HUGE_NONE;
}

/* Guarded blocks lie on pages of their own, which guard_limit bounds: at most half is theirs, and what is not can't be used
 * by others. */
static void limit_start(struct options *options)
{
	uint64_t limit = options->limit;

	if (limit > 0 && (options->guard || options->sample > 0)) {
		uint64_t half = limit / 2;
		options->guard_limit = options->guard_limit > 0 ? min_size(options->guard_limit, half) : half;
		limit -= options->guard_limit;
	}
	limit_configure(limit);
}

static void reports_start(const struct options *options)
{
	report_configure(&(struct report_settings){
		.path = options->report,
		.json = options->report_format == OPTION_report_format_json,
		.go_on = options->on_error != OPTION_on_error_abort,
		.silent = options->on_error == OPTION_on_error_ignore,
		.neighbours = options->guard || options->sample > 0 ? guarded_neighbours : NULL,
	});
}

/* memcheck would take the looks at free blocks for the program's own. */
static void secure_start(struct options *options)
{
	if (MEMCHECK_BUILD)
		options->secure = OPTION_secure_0;
	secure_configure(options);
	if (options->secure >= OPTION_secure_2 && !options_is_set(options, "foreign"))
		options->foreign = OPTION_foreign_abort;
}

static void guard_start(const struct options *options)
{
	guarded_configure(options);
	if (!guarded_on)
		return;
	stack_configure(options->guard_depth, options->guard ? options->guard_depot
	                                                     : min_size(options->guard_depot, GUARDED_SAMPLED_DEPOT_BYTES),
	                options->guard_names);
	report_prepare();
	fault_install(&(struct fault_source){ guarded_is_owner, guarded_find, guarded_open });
	if (options->guard)
		life_without_heaps();
	else
		sample_configure(options->sample);
	fork_takes(&slots_lock);
}

void init_once(void)
{
	lock_take(&init_lock);
	if (!atomic_load_explicit(&init_done, memory_order_relaxed)) {
		memcheck_own_variables();
		options_read(&sealed.options);
		huge_configure(huge_wish(sealed.options.thp));
		limit_start(&sealed.options);
		purge_configure(sealed.options.retain, sealed.options.retain_percent, sealed.options.retain_max,
		                sealed.options.decay_ms);
		uint64_t data_limit = os_data_limit();
		purge_set_uncommit(data_limit != UINT64_MAX || os_overcommit_is_strict());
		shortage_configure(region_know_machine(), data_limit);
		sweep_configure(sealed.options.decay_ms);
		scavenger_configure(sealed.options.scavenger, sealed.options.decay_ms, sealed.options.pressure);
		os_thread_id_learn();
		secure_start(&sealed.options);
		life_init();
		reports_start(&sealed.options);
		if (sealed.options.guard || sealed.options.sample > 0)
			guard_start(&sealed.options);
		if (guarded_on)
			secure_guarded();
		atomic_store_explicit(&init_done, true, memory_order_release);
	}
	lock_release(&init_lock);
}

static void child_start(void)
{
	fork_child();
	report_fork_child();
	leaks_fork_child();
}

static COLD void say_no_leaks_known(int error)
{
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	text_format(&text, "quarry: guard: leaks can't be looked for (error %u)\n", (uint64_t)(unsigned)-error);
	text_write_error(&text);
}

static void leaks_at_exit(const struct options *options)
{
	struct leaks_found found;
	int error = leaks_check("exit", options->guard_leaks == OPTION_guard_leaks_possibly, &found);

	if (error != 0)
		say_no_leaks_known(error);
	if (found.lost_blocks != 0 && options->guard_leaks_status != 0)
		os_exit_with((int)options->guard_leaks_status);
}

/* In the shared library before other libraries' constructors (-z initfirst), so that our fork handlers stand around
 * everybody else's: prepare last, parent and child first. In a program that Quarry is linked into, before all of its
 * constructors, which may start threads and fork: theirs have priorities from 101 on. Compilers warn of lower ones; the
 * section's name is what makes one. */
static void fork_handlers_register(void)
{
	init_ensure();
	pthread_atfork(fork_prepare, fork_parent, child_start);
}

__attribute__((section(".init_array.00100"), used)) static void (*first_constructor)(void) = fork_handlers_register;

/* After preload.c's constructor. */
__attribute__((constructor)) static void init_constructor(void)
{
	if (os_protect_read(&sealed, sizeof(sealed)) == 0)
		os_seal(&sealed, sizeof(sealed));
	if (secure.on && os_protect_read(&secure, sizeof(secure)) == 0)
		os_seal(&secure, sizeof(secure));
}

__attribute__((destructor)) static void init_destructor(void)
{
	if (guarded_on)
		guarded_check_all("exit");
	if (guarded_on && sealed.options.guard_leaks != OPTION_guard_leaks_off)
		leaks_at_exit(&sealed.options);
	if (sealed.options.stats)
		stats_print();
}

/* How short memory is, told by files as the kernel writes them: a tree of our own in their place. */
#include "model/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "os/os.h"
#include "preload/sandbox.h"
#include "space/pressure.h"

#define SECOND_NS 1000000000ull

static char tree[256];
static uint64_t now_ns;

static const char *path_of(const char *name)
{
	static char paths[4][512];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", tree, name);
	return path;
}

/* In place: who has it open sees it. */
static void put(const char *name, const char *content)
{
	FILE *file = fopen(path_of(name), "w");

	MUST(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0);
}

static void put_number(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
	put(name, text);
}

static void put_stalls(const char *name, uint64_t some_us, uint64_t full_us)
{
	char text[256];

	snprintf(text, sizeof(text),
	         "some avg10=0.00 avg60=12.34 avg300=0.00 total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=%llu\n",
	         (unsigned long long)some_us, (unsigned long long)full_us);
	put(name, text);
}

static void folder(const char *name)
{
	MUST(mkdir(path_of(name), 0700) == 0);
}

static void put_in(const char *folder_name, const char *file, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder_name, file);
	put(path, text);
}

static void put_number_in(const char *folder_name, const char *file, uint64_t value)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder_name, file);
	put_number(path, value);
}

/* A group of version 2 with its four files. */
static void group_v2(const char *name, const char *max, const char *high, uint64_t used, uint64_t inactive)
{
	char text[256];

	put_in(name, "memory.max", max);
	put_in(name, "memory.high", high);
	put_number_in(name, "memory.current", used);
	snprintf(text, sizeof(text), "anon 4096\nfile 100\ninactive_anon 77\ninactive_file %llu\nactive_file 5\n",
	         (unsigned long long)inactive);
	put_in(name, "memory.stat", text);
}

static void group_v1(const char *name, uint64_t limit, uint64_t used, uint64_t inactive)
{
	char text[256];

	put_number_in(name, "memory.limit_in_bytes", limit);
	put_number_in(name, "memory.usage_in_bytes", used);
	snprintf(text, sizeof(text), "cache 4096\ninactive_file 1\ntotal_cache 3\ntotal_inactive_file %llu\n",
	         (unsigned long long)inactive);
	put_in(name, "memory.stat", text);
}

/* Mounts with names relative to the tree. */
static void put_mounts(const char *root_v2, const char *mount_v2, const char *root_v1, const char *mount_v1)
{
	char text[4096];
	int length = snprintf(text, sizeof(text), "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	                      "30 31 0:28 / /sys/cpu rw - cgroup cgroup rw,cpu,memory2\n");

	if (mount_v1 != NULL)
		length += snprintf(text + length, sizeof(text) - (size_t)length,
		                   "32 31 0:32 %s %s/%s rw,nosuid shared:9 - cgroup cgroup rw,cpu,memory\n", root_v1, tree, mount_v1);
	if (mount_v2 != NULL)
		snprintf(text + length, sizeof(text) - (size_t)length, "41 31 0:38 %s %s/%s rw - cgroup2 cgroup2 rw,nsdelegate\n",
		         root_v2, tree, mount_v2);
	put("mounts", text);
}

static void open_all(void)
{
	struct pressure_places places = { path_of("groups"), path_of("mounts"), path_of("stalls") };

	now_ns += SECOND_NS;
	pressure_open(&places, now_ns);
}

static enum pressure look(void)
{
	now_ns += SECOND_NS;
	pressure_look(now_ns);
	return pressure_level();
}

/* Without what was found before. */
static enum pressure look_anew(void)
{
	pressure_rest();
	return look();
}

static bool is_ours(int number)
{
	char path[64], target[512];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", number);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	target[length > 0 ? length : 0] = 0;
	return strncmp(target, tree, strlen(tree)) == 0;
}

/* Descriptors in our tree, which nobody else opens; their numbers. */
static size_t kept(int numbers[32])
{
	DIR *entries = opendir("/proc/self/fd");
	size_t count = 0;
	struct dirent *entry;

	MUST(entries != NULL);
	while ((entry = readdir(entries)) != NULL && count < 32)
		if (entry->d_name[0] != '.' && is_ours(atoi(entry->d_name)))
			numbers[count++] = atoi(entry->d_name);
	closedir(entries);
	return count;
}

static size_t kept_count(void)
{
	int numbers[32];

	return kept(numbers);
}

static int setup(void **state UNUSED)
{
	strcpy(tree, "/tmp/quarry-pressure.XXXXXX");
	MUST(mkdtemp(tree) != NULL);
	now_ns = 1000 * SECOND_NS;
	return 0;
}

static int teardown(void **state UNUSED)
{
	char command[300];

	pressure_close();
	snprintf(command, sizeof(command), "rm -rf '%s'", tree);
	return system(command);
}

/* ---- Which files ---- */

static void test_nothing_there(void **state UNUSED)
{
	open_all();
	assert_int_equal(kept_count(), 0);
	assert_int_equal(look(), PRESSURE_NONE);

	put("groups", "0::/x\n4:memory:/y\n");
	put("mounts", "");
	open_all();
	assert_int_equal(kept_count(), 0);
	put_mounts("/", "nowhere", "/", "nowhere either");
	open_all();
	assert_int_equal(kept_count(), 0);
	assert_int_equal(look(), PRESSURE_NONE);
}

static void test_only_what_is_useful(void **state UNUSED)
{
	folder("v2");
	folder("v2/own");
	put("groups", "0::/own\n");
	put_mounts("/", "v2", NULL, NULL);
	group_v2("v2/own", "max\n", "max\n", 1000, 0);
	open_all();
	assert_int_equal(kept_count(), 0);
	put_stalls("stalls", 0, 0);
	open_all();
	assert_int_equal(kept_count(), 1);
	/* The group's own instead of the machine's. */
	put_stalls("v2/own/memory.pressure", 5, 5);
	put_stalls("stalls", 0, 0);
	open_all();
	assert_int_equal(kept_count(), 1);
	put_stalls("v2/own/memory.pressure", 900005, 5);
	assert_int_equal(look(), PRESSURE_SOME);
	/* A limit, what is used of it, what of that is inactive; two limits. */
	put("v2/own/memory.max", "5000000\n");
	open_all();
	assert_int_equal(kept_count(), 4);
	put("v2/own/memory.high", "4000000\n");
	open_all();
	assert_int_equal(kept_count(), 5);
	pressure_close();
	assert_int_equal(kept_count(), 0);
}

static void test_numbers(void **state UNUSED)
{
	int numbers[32];
	int first = open("/dev/null", O_RDONLY);

	close(first);
	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	put_stalls("stalls", 0, 0);
	group_v2("v2", "5000000\n", "4000000\n", 1000, 0);
	for (int i = 0; i < 20; i++)
		open_all();
	size_t count = kept(numbers);
	assert_int_equal(count, 5);
	for (size_t i = 0; i < count; i++) {
		assert_true(numbers[i] >= 40 && numbers[i] < 1024);
		assert_int_equal(fcntl(numbers[i], F_GETFD), FD_CLOEXEC);
	}
	int again = open("/dev/null", O_RDONLY);
	close(again);
	assert_int_equal(again, first);
}

static void test_thresholds(void **state UNUSED)
{
	static const struct {
		const char *max, *high;
		uint64_t used, inactive;
		enum pressure level;
	} rows[] = {
		{ "1000000\n", "max\n", 899999, 0, PRESSURE_NONE },
		{ "1000000\n", "max\n", 900000, 0, PRESSURE_SOME },
		{ "1000000\n", "max\n", 969999, 0, PRESSURE_SOME },
		{ "1000000\n", "max\n", 970000, 0, PRESSURE_MUCH },
		{ "1000000\n", "max\n", 1000000, 30001, PRESSURE_SOME },
		{ "1000000\n", "max\n", 1000000, 100001, PRESSURE_NONE },
		{ "1000000\n", "max\n", 1000000, 2000000, PRESSURE_NONE },
		{ "max\n", "1000000\n", 899999, 0, PRESSURE_NONE },
		{ "max\n", "1000000\n", 900000, 0, PRESSURE_SOME },
		{ "max\n", "1000000\n", 1000000, 0, PRESSURE_SOME },
		{ "2000000\n", "1000000\n", 1950000, 0, PRESSURE_MUCH },
		{ "0\n", "max\n", 4096, 0, PRESSURE_MUCH },
		{ "1000000000000000000\n", "max\n", 999999999999999999, 0, PRESSURE_MUCH },
		{ "9223372036854771712\n", "max\n", 9223372036854771711u, 0, PRESSURE_NONE },
	};

	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		group_v2("v2", rows[i].max, rows[i].high, rows[i].used, rows[i].inactive);
		open_all();
		if (look() != rows[i].level)
			fail_msg("row %zu: level %d", i, pressure_level());
	}
	/* A limit that is lifted while we look, and set again. */
	group_v2("v2", "1000000\n", "max\n", 990000, 0);
	open_all();
	put("v2/memory.max", "max\n");
	assert_int_equal(look_anew(), PRESSURE_NONE);
	put("v2/memory.max", "1000000\n");
	assert_int_equal(look_anew(), PRESSURE_MUCH);
}

/* The nearest two groups with a limit, up to the mount's root. */
static void test_groups_above(void **state UNUSED)
{
	folder("v2");
	folder("v2/a");
	folder("v2/a/b");
	folder("v2/a/b/c");
	put("groups", "0::/a/b/c\n");
	put_mounts("/", "v2", NULL, NULL);
	group_v2("v2", "1000000\n", "max\n", 1000000, 0);
	group_v2("v2/a", "1000000\n", "max\n", 0, 0);
	group_v2("v2/a/b", "max\n", "max\n", 0, 0);
	group_v2("v2/a/b/c", "max\n", "max\n", 0, 0);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_MUCH);
	put_number("v2/a/b/c/memory.max", 1000000);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_NONE);
	put_number("v2/a/memory.current", 920000);
	assert_int_equal(look_anew(), PRESSURE_SOME);
	put_number("v2/a/b/c/memory.current", 980000);
	assert_int_equal(look_anew(), PRESSURE_MUCH);
	/* Never above the mount. */
	put_mounts("/", "v2/a/b", NULL, NULL);
	folder("v2/a/b/a");
	folder("v2/a/b/a/b");
	folder("v2/a/b/a/b/c");
	group_v2("v2/a", "1000\n", "max\n", 1000, 0);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_NONE);
}

static void test_roots(void **state UNUSED)
{
	static const struct {
		const char *group, *root, *below;
	} rows[] = {
		{ "/", "/", "" },                       /* in a namespace of its own */
		{ "/docker/x", "/docker/x", "" },       /* mounted from outside */
		{ "/docker/x/y", "/docker/x", "/y" },
		{ "/", "/docker/x", "" },
		{ "/../other", "/", "" },
		{ "/y", "/", "/y" },
	};
	char text[128], name[128];

	folder("v1");
	folder("v1/y");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "7:cpu:/z\n4:cpuacct,memory:%s\n", rows[i].group);
		put("groups", text);
		put_mounts(NULL, NULL, rows[i].root, "v1");
		group_v1("v1", 9223372036854771712u, 5, 0);
		group_v1("v1/y", 9223372036854771712u, 5, 0);
		snprintf(name, sizeof(name), "v1%s", rows[i].below);
		group_v1(name, 1000000, 950000, 10000);
		open_all();
		if (look_anew() != PRESSURE_SOME || kept_count() != 3)
			fail_msg("row %zu: level %d, %zu files", i, pressure_level(), kept_count());
	}
	/* Of a mount that doesn't show the group nothing is taken, and a later one that does serves. */
	folder("other");
	group_v1("other", 1000000, 990000, 0);
	group_v1("v1", 1000000, 5000, 0);
	put("groups", "4:memory:/docker/xyz\n");
	put_mounts(NULL, NULL, "/docker/x", "other");
	open_all();
	assert_int_equal(look_anew(), PRESSURE_NONE);
	char both[1024];
	snprintf(both, sizeof(both), "32 31 0:32 /docker/x %s/other rw - cgroup cgroup rw,memory\n"
	         "33 31 0:32 /docker/xyz %s/v1 rw - cgroup cgroup rw,memory\n", tree, tree);
	put("mounts", both);
	group_v1("v1", 1000000, 950000, 0);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_SOME);
	group_v1("v1", 9223372036854771712u, 5, 0);
	/* Blanks in names, and both versions at once. */
	folder("a b");
	put("groups", "4:memory:/\n0::/\n");
	put_mounts("/", "a\\040b", "/", "v1");
	group_v1("v1", 1000000, 950000, 10000);
	put_stalls("a b/memory.pressure", 0, 0);
	open_all();
	assert_int_equal(kept_count(), 4);
}

static void test_long_files(void **state UNUSED)
{
	char *text = malloc(300000);
	size_t length = 0;

	folder("v2");
	put("groups", "0::/\n");
	group_v2("v2", "1000000\n", "max\n", 950000, 0);
	while (length < 200000)
		length += (size_t)sprintf(text + length, "%zu 27 0:21 / /mnt/%zu%.*s rw,relatime - ext4 /dev/sda rw\n", length,
		                          length, (int)(length % 900), path_of(""));
	sprintf(text + length, "41 31 0:38 / %s/v2 rw - cgroup2 cgroup2 rw\n", tree);
	put("mounts", text);
	open_all();
	assert_int_equal(look(), PRESSURE_SOME);
	/* A line that is too long is passed by. */
	memset(text, 'x', 10000);
	strcpy(text + 10000, "\n");
	sprintf(text + 10001, "41 31 0:38 / %s/v2 rw - cgroup2 cgroup2 rw\n", tree);
	put("mounts", text);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_SOME);
	free(text);
}

/* ---- Stalls ---- */

static void test_stalls(void **state UNUSED)
{
	uint64_t looks = pressure_looks();

	put_stalls("stalls", 5000000, 4000000);
	open_all();
	assert_int_equal(look_anew(), PRESSURE_NONE);
	put_stalls("stalls", 5099999, 4000000);
	assert_int_equal(look_anew(), PRESSURE_NONE);
	put_stalls("stalls", 5199999, 4000000);
	assert_int_equal(look_anew(), PRESSURE_SOME);
	put_stalls("stalls", 5299999, 4099999);
	assert_int_equal(look_anew(), PRESSURE_SOME);
	put_stalls("stalls", 5399999, 4199999);
	assert_int_equal(look_anew(), PRESSURE_MUCH);
	assert_int_equal(look_anew(), PRESSURE_NONE);
	assert_int_equal(pressure_looks(), looks + 3);
	/* Time that was slept through counts. */
	now_ns += 100 * SECOND_NS;
	put_stalls("stalls", 6399999, 5199999);
	assert_int_equal(look_anew(), PRESSURE_NONE);
	/* A counter that goes back is no stall. */
	put_stalls("stalls", 1, 1);
	assert_int_equal(look_anew(), PRESSURE_NONE);
}

static void test_it_passes(void **state UNUSED)
{
	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	group_v2("v2", "1000000\n", "max\n", 980000, 0);
	open_all();
	assert_int_equal(look(), PRESSURE_MUCH);
	put_number("v2/memory.current", 920000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(look(), PRESSURE_MUCH);
	assert_int_equal(look(), PRESSURE_SOME);
	put_number("v2/memory.current", 100000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(look(), PRESSURE_SOME);
	put_number("v2/memory.current", 900000);
	assert_int_equal(look(), PRESSURE_SOME);
	put_number("v2/memory.current", 100000);
	for (int i = 0; i < 3; i++)
		assert_int_equal(look(), PRESSURE_SOME);
	assert_int_equal(look(), PRESSURE_NONE);
	put_number("v2/memory.current", 980000);
	assert_int_equal(look(), PRESSURE_MUCH);
	pressure_close();
	assert_int_equal(pressure_level(), PRESSURE_NONE);
}

/* ---- Files that aren't what they were ---- */

static void test_wrong_contents(void **state UNUSED)
{
	static const char *const wrong[] = { "", "max", "1000000", "-5\n", "980000 \n", "980000\n980000\n", " 980000\n", "maximum\n",
		                             "99999999999999999999\n", "0x10\n", "\n", "12a\n" };
	static const char *const names[] = { "v2/memory.current", "v2/memory.max", "v2/memory.stat" };
	char *much = malloc(70000);

	memset(much, '1', 69999);
	much[69999] = 0;
	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	for (size_t file = 0; file < 3; file++)
		for (size_t i = 0; i <= sizeof(wrong) / sizeof(wrong[0]); i++) {
			group_v2("v2", "1000000\n", "max\n", 980000, 0);
			open_all();
			assert_int_equal(look_anew(), PRESSURE_MUCH);
			size_t files = kept_count();
			put(names[file], i < sizeof(wrong) / sizeof(wrong[0]) ? wrong[i] : much);
			if (look_anew() != PRESSURE_NONE)
				fail_msg("%s: \"%s\" gives level %d", names[file], wrong[i], pressure_level());
			/* Not looked at any more, and not closed: it may be the program's. */
			group_v2("v2", "1000000\n", "max\n", 980000, 0);
			assert_int_equal(look_anew(), PRESSURE_NONE);
			assert_int_equal(kept_count(), files);
			int numbers[32];
			for (size_t count = kept(numbers); count > 0; count--)
				close(numbers[count - 1]);
		}
	free(much);
}

static void test_wrong_stalls(void **state UNUSED)
{
	static const char *const wrong[] = {
		"", "some avg10=0.00 avg60=0.00 avg300=0.00 total=900000000\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=900000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=x\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=900000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\n",
		"full avg10=0.00 avg60=0.00 avg300=0.00 total=900000000\nsome avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=0 avg60=0.00 avg300=0.00 total=900000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=0.00 total=900000000\nfull avg10=0.00 total=0\n",
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		int numbers[32];
		put_stalls("stalls", 0, 0);
		open_all();
		put_stalls("stalls", 1000000, 0);
		assert_int_equal(look_anew(), PRESSURE_SOME);
		put("stalls", wrong[i]);
		assert_int_equal(look_anew(), PRESSURE_NONE);
		put_stalls("stalls", 900000000, 0);
		assert_int_equal(look_anew(), PRESSURE_NONE);
		assert_int_equal(kept(numbers), 1);
		close(numbers[0]);
		/* From the beginning, too. */
		put("stalls", wrong[i]);
		open_all();
		assert_int_equal(kept_count(), 0);
	}
}

/* The program closes every descriptor, and has files of its own with their numbers. */
static void test_taken_numbers(void **state UNUSED)
{
	int numbers[32], ends[2];
	char said[16] = "";

	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	put_stalls("stalls", 0, 0);
	for (int round = 0; round < 2; round++) {
		group_v2("v2", "1000000\n", "900000\n", 980000, 0);
		open_all();
		assert_int_equal(look_anew(), PRESSURE_MUCH);
		size_t count = kept(numbers);
		assert_int_equal(count, 5);
		/* Even a file that says just what ours would. */
		put("other", "980000\n");
		int file = open(path_of("other"), O_RDONLY);
		assert_int_equal(pipe(ends), 0);
		assert_int_equal(write(ends[1], "1000000\n", 8), 8);
		for (size_t i = 0; i < count; i++)
			assert_int_equal(dup2(i % 2 == 0 ? ends[0] : file, numbers[i]), numbers[i]);
		for (int i = 0; i < 10 && round == 0; i++)
			look_anew();
		pressure_close();
		for (size_t i = 0; i < count; i++)
			assert_int_not_equal(fcntl(numbers[i], F_GETFD), -1);
		assert_int_equal(read(ends[0], said, sizeof(said)), 8);
		assert_memory_equal(said, "1000000\n", 8);
		assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
		for (size_t i = 0; i < count; i++)
			close(numbers[i]);
		close(file);
		close(ends[0]);
		close(ends[1]);
	}
}

static void in_child(void *argument UNUSED)
{
	/* Where the library's own handler is linked in, it has done so already. */
	pressure_fork_child();
	MUST(kept_count() == 4 && pressure_level() == PRESSURE_NONE);
	open_all();
	MUST(kept_count() == 4 && look() == PRESSURE_SOME);
}

static void test_fork(void **state UNUSED)
{
	char said[4096];

	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	put_stalls("stalls", 0, 0);
	group_v2("v2", "1000000\n", "max\n", 950000, 0);
	open_all();
	assert_int_equal(look(), PRESSURE_SOME);
	assert_int_equal(child_run(in_child, NULL, said, sizeof(said)), 0);
	assert_int_equal(kept_count(), 4);
}

static void in_sandbox(void *argument UNUSED)
{
	open_all();
	if (look() != PRESSURE_SOME)
		_exit(1);
	if (!enter_sandbox())
		_exit(2);
	/* Any call that it doesn't allow kills. */
	if (look() != PRESSURE_NONE || look() != PRESSURE_NONE)
		_exit(3);
	pressure_close();
	open_all();
	_exit(look() != PRESSURE_NONE ? 4 : 0);
}

static void test_sandbox(void **state UNUSED)
{
	skip_where(ADDRESS_SANITIZED || THREAD_SANITIZED, "sanitizers make calls of their own");
	folder("v2");
	put("groups", "0::/\n");
	put_mounts("/", "v2", NULL, NULL);
	put_stalls("stalls", 0, 0);
	group_v2("v2", "1000000\n", "max\n", 950000, 0);
	int status = child_run(in_sandbox, NULL, NULL, 0);
	skip_where(WIFEXITED(status) && WEXITSTATUS(status) == 2, "no seccomp here");
	assert_int_equal(status, 0);
}

/* The kernel's own, whatever this machine has. */
static void test_this_machine(void **state UNUSED)
{
	pressure_open(&pressure_places, os_now_ns());
	pressure_look(os_now_ns());
	assert_in_range(pressure_level(), PRESSURE_NONE, PRESSURE_MUCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_what_is_useful, setup, teardown),
		cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_thresholds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_groups_above, setup, teardown),
		cmocka_unit_test_setup_teardown(test_roots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stalls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_it_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_stalls, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sandbox, setup, teardown),
		cmocka_unit_test_setup_teardown(test_this_machine, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

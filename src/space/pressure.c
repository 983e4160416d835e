/* How short memory is: see pressure.h. */
#include "space/pressure.h"

#include <string.h>

#include "base/bits.h"
#include "base/text.h"
#include "os/os.h"

#define SOME_PERCENT 90
#define MUCH_PERCENT 97
/* Of the time between two looks, tasks that stall. */
#define STALLED_FRACTION 10
/* Stalls within less than this tell nothing yet. */
#define STALL_NS_MIN 10000000
/* The level falls when so many looks in a row have found less: what is given back under pressure must not let the next
 * look lift it, and the one after that find it again. */
#define CALM_LOOKS 4
/* No limit: version 1 says LONG_MAX in whole pages. */
#define UNLIMITED ((uint64_t)1 << 60)

#define PATH_BYTES 4096
/* memory.stat of version 2 has some 2 KiB. */
#define CONTENT_BYTES 8192

enum { LIMIT_MAX, LIMIT_HIGH, LIMIT_COUNT };

/* The names of one version's files. */
struct names {
	const char *usage;
	const char *stat;
	const char *inactive;           /* in stat, with all groups below it */
	const char *limits[LIMIT_COUNT];
};

static const struct names names_v2 = { "memory.current", "memory.stat", "inactive_file", { "memory.max", "memory.high" } };
static const struct names names_v1 = { "memory.usage_in_bytes", "memory.stat", "total_inactive_file",
	                               { "memory.limit_in_bytes", NULL } };

/* A group with a limit; in use while it has a usage. */
struct group {
	const struct names *names;
	struct os_file usage;
	struct os_file stat;
	struct os_file limits[LIMIT_COUNT];
};

#define GROUPS_MAX 2

struct stalls {
	uint64_t some_us;
	uint64_t full_us;
};

static struct {
	struct group groups[GROUPS_MAX];
	struct os_file once_file;       /* read from one end to the other, and closed */
	struct os_file stalls_file;
	struct os_filters filters;
	bool forbidden;                 /* a sandbox was set up: no file is touched again */
	struct stalls stalls;           /* at stalls_ns */
	uint64_t stalls_ns;
	unsigned calm;
	_Atomic uint64_t looks;
} watch;

_Atomic uint32_t pressure_now;
struct lock pressure_lock = LOCK_INIT(LOCK_RANK_FILES);

const struct pressure_places pressure_places = {
	.groups = "/proc/self/cgroup",
	.mounts = "/proc/self/mountinfo",
	.stalls = "/proc/pressure/memory",
};

/* ---- Opening and reading ---- */

static bool file_open(struct os_file *file, const char *path)
{
	lock_take(&pressure_lock);
	bool opened = os_file_open(file, path);
	lock_release(&pressure_lock);
	return opened;
}

static void file_close(struct os_file *file)
{
	lock_take(&pressure_lock);
	os_file_close(file);
	lock_release(&pressure_lock);
}

/* The whole file, with a 0 behind it. False if there is none, or more than there is room for. */
static bool file_content(const struct os_file *file, char content[CONTENT_BYTES])
{
	if (file->number == 0)
		return false;
	long length = os_file_read(file, content, CONTENT_BYTES, 0);
	if (length <= 0 || length == CONTENT_BYTES)
		return false;
	content[length] = 0;
	return strlen(content) == (size_t)length;
}

/* Never closed: the number may be the program's. */
static bool forget(struct os_file *file)
{
	lock_take(&pressure_lock);
	file->number = 0;
	lock_release(&pressure_lock);
	return false;
}

static void level_set(enum pressure level)
{
	watch.calm = 0;
	atomic_store_explicit(&pressure_now, level, memory_order_relaxed);
}

void pressure_rest(void)
{
	level_set(PRESSURE_NONE);
}

/* ---- Sandboxes ---- */

static void filters_open(void)
{
	lock_take(&pressure_lock);
	os_filters_open(&watch.filters);
	lock_release(&pressure_lock);
}

static void group_close(struct group *group)
{
	file_close(&group->usage);
	file_close(&group->stat);
	for (int i = 0; i < LIMIT_COUNT; i++)
		file_close(&group->limits[i]);
}

static void files_close(void)
{
	for (size_t i = 0; i < GROUPS_MAX; i++)
		group_close(&watch.groups[i]);
	file_close(&watch.stalls_file);
	file_close(&watch.once_file);
	lock_take(&pressure_lock);
	os_filters_close(&watch.filters);
	lock_release(&pressure_lock);
}

static void forget_all(void)
{
	lock_take(&pressure_lock);
	memset(watch.groups, 0, sizeof(watch.groups));
	watch.stalls_file = watch.once_file = (struct os_file){ 0 };
	watch.filters = (struct os_filters){ 0 };
	lock_release(&pressure_lock);
	pressure_rest();
}

/* Of a sandbox that was set up since the files were opened nobody knows what it allows. What comes between this look and
 * the next, some microseconds in each, isn't seen. */
static bool files_may_be_touched(void)
{
	if (watch.forbidden)
		return false;
	if (watch.filters.status.number == 0)
		return true;
	switch (os_filters_look(&watch.filters)) {
	case OS_FILTERS_SAME:
		return true;
	case OS_FILTERS_UNKNOWN:
		return false;
	case OS_FILTERS_ADDED:
		watch.forbidden = true;
		break;
	case OS_FILTERS_LOST:
		break;
	}
	forget_all();
	return false;
}

void pressure_close(void)
{
	if (files_may_be_touched())
		files_close();
	forget_all();
}

/* ---- Formats ---- */

/* Each takes where it starts, NULL if something before it was wrong already, and returns where it ends. */
static const char *literal(const char *at, const char *expected)
{
	size_t length = strlen(expected);

	return at != NULL && strncmp(at, expected, length) == 0 ? at + length : NULL;
}

#define DIGITS_MAX 19

static const char *number(const char *at, uint64_t *value)
{
	size_t digits = 0;

	*value = 0;
	if (at == NULL)
		return NULL;
	for (; at[digits] >= '0' && at[digits] <= '9' && digits <= DIGITS_MAX; digits++)
		*value = *value * 10 + (uint64_t)(at[digits] - '0');
	return digits > 0 && digits <= DIGITS_MAX ? at + digits : NULL;
}

static const char *average(const char *at, const char *name)
{
	uint64_t ignored;

	return number(literal(number(literal(at, name), &ignored), "."), &ignored);
}

/* some avg10=0.00 avg60=0.00 avg300=0.00 total=0 */
static const char *stall_line(const char *at, const char *who, uint64_t *total_us)
{
	at = average(average(average(literal(at, who), " avg10="), " avg60="), " avg300=");
	return literal(number(literal(at, " total="), total_us), "\n");
}

static bool ends(const char *at)
{
	return at != NULL && *at == 0;
}

static bool stalls_read(struct stalls *stalls)
{
	char content[CONTENT_BYTES];

	return file_content(&watch.stalls_file, content) &&
	       ends(stall_line(stall_line(content, "some", &stalls->some_us), "full", &stalls->full_us));
}

static bool number_read(const struct os_file *file, uint64_t *value)
{
	char content[CONTENT_BYTES];

	*value = UINT64_MAX;
	return file_content(file, content) &&
	       (strcmp(content, "max\n") == 0 || ends(literal(number(content, value), "\n")));
}

/* Lines of a name and a number each. */
static bool stat_read(const struct os_file *file, const char *name, uint64_t *value)
{
	char content[CONTENT_BYTES];
	const char *at = content;
	bool found = false;

	if (!file_content(file, content))
		return false;
	while (*at != 0) {
		size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_0123456789");
		bool is_it = length == strlen(name) && strncmp(at, name, length) == 0;
		uint64_t here;
		at = literal(number(literal(at + length, " "), &here), "\n");
		if (at == NULL || length == 0)
			return false;
		*value = is_it ? here : *value;
		found |= is_it;
	}
	return found;
}

/* ---- Lines of a file that is read once ---- */

struct lines {
	uint64_t offset;
	size_t at;
	size_t length;
	char buffer[PATH_BYTES + 1];
};

/* The next line, ended by 0 in place of its newline; NULL at the end. Lines longer than the buffer are passed by: an
 * overlay's, with all its layers. */
static char *lines_next(struct lines *lines)
{
	bool passing = false;

	for (;;) {
		char *line = lines->buffer + lines->at;
		char *newline = memchr(line, '\n', lines->length - lines->at);
		if (newline != NULL) {
			*newline = 0;
			lines->at = (size_t)(newline + 1 - lines->buffer);
			if (!passing)
				return line;
			passing = false;
			continue;
		}
		lines->length -= lines->at;
		memmove(lines->buffer, line, lines->length);
		lines->at = 0;
		if (lines->length == PATH_BYTES) {
			passing = true;
			lines->length = 0;
		}
		long got = os_file_read(&watch.once_file, lines->buffer + lines->length, PATH_BYTES - lines->length,
		                        lines->offset);
		if (got <= 0)
			return NULL;
		lines->length += (size_t)got;
		lines->offset += (uint64_t)got;
	}
}

static bool lines_open(struct lines *lines, const char *path)
{
	lines->offset = lines->at = lines->length = 0;
	return file_open(&watch.once_file, path);
}

/* ---- Finding the groups ---- */

/* A folder of control groups: the group's name, its whole path, and how much of that is the mount point. */
struct folder {
	char group[PATH_BYTES];         /* "": none */
	char path[PATH_BYTES];
	size_t mount_length;            /* 0: none found */
	bool shown;                     /* the mount shows the group */
};

struct folders {
	struct folder v1;               /* of the memory controller */
	struct folder v2;
};

/* The word `wanted` in a list with commas. */
static bool list_has(const char *list, const char *wanted)
{
	size_t length = strlen(wanted);

	for (const char *at = list; (at = strstr(at, wanted)) != NULL; at += length)
		if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == 0))
			return true;
	return false;
}

/* Cuts the text at the first blank; what follows, or NULL. */
static char *cut(char *text, char at)
{
	char *found = text != NULL ? strchr(text, at) : NULL;

	if (found == NULL)
		return NULL;
	*found = 0;
	return found + 1;
}

/* Mount points are written with \040 for a blank. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != 0; to++) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = 0;
}

/* What of the group's path lies below the mount's root; NULL if the mount doesn't show the group. */
static const char *path_below(const char *path, const char *root)
{
	size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != 0))
		return NULL;
	return strcmp(path + length, "/") == 0 ? "" : path + length;
}

static void folder_set(struct folder *folder, const char *mount, const char *below)
{
	struct text text = text_over(folder->path, sizeof(folder->path));

	text_string(&text, mount);
	folder->mount_length = text.length;
	text_string(&text, below);
	/* Too long a path is none. */
	if (text.length >= sizeof(folder->path))
		folder->path[folder->mount_length = 0] = 0;
}

/* The first mount that shows the group. One whose root is not above it, of a container that was given its own group's
 * folder, serves until there is one. */
static void folder_offer(struct folder *folder, const char *mount, const char *root)
{
	const char *below = path_below(folder->group, root);
	bool stands_above = strncmp(root, "/..", 3) == 0 || strncmp(folder->group, "/..", 3) == 0 ||
	                    strcmp(folder->group, "/") == 0;

	if (folder->group[0] == 0 || folder->shown)
		return;
	if (below != NULL && strncmp(folder->group, "/..", 3) != 0)
		folder->shown = true;
	else if (stands_above && folder->mount_length == 0)
		below = "";
	else
		return;
	folder_set(folder, mount, below);
}

/* 36 35 98:0 /root /mount/point rw,noatime shared:1 - cgroup2 source rw,memory */
static void mount_line(char *line, struct folders *folders)
{
	char *kind = strstr(line, " - ");

	if (kind == NULL)
		return;
	*kind = 0;
	kind += 3;
	char *options = cut(cut(kind, ' '), ' ');
	char *root = cut(cut(cut(line, ' '), ' '), ' ');
	char *mount = cut(root, ' ');
	bool v2 = strcmp(kind, "cgroup2") == 0;
	if (mount == NULL || options == NULL || !(v2 || (strcmp(kind, "cgroup") == 0 && list_has(options, "memory"))))
		return;
	cut(mount, ' ');
	unescape(root);
	unescape(mount);
	folder_offer(v2 ? &folders->v2 : &folders->v1, mount, root);
}

/* 0::/path, or 4:memory:/path */
static void group_line(char *line, struct folders *folders)
{
	char *controllers = cut(line, ':');
	char *path = cut(controllers, ':');
	struct folder *folder;

	if (path == NULL || strlen(path) >= PATH_BYTES)
		return;
	if (controllers[0] == 0)
		folder = &folders->v2;
	else if (list_has(controllers, "memory"))
		folder = &folders->v1;
	else
		return;
	memcpy(folder->group, path, strlen(path) + 1);
}

static void for_each_line(const char *path, void (*act)(char *line, struct folders *folders), struct folders *folders)
{
	struct lines lines;
	char *line;

	if (!lines_open(&lines, path))
		return;
	while ((line = lines_next(&lines)) != NULL)
		act(line, folders);
	file_close(&watch.once_file);
}

/* ---- Opening what is useful ---- */

static bool open_in(struct os_file *file, const struct folder *folder, size_t length, const char *name)
{
	char path[PATH_BYTES + 32];
	struct text text = text_over(path, sizeof(path));

	text_bytes(&text, folder->path, length);
	text_char(&text, '/');
	text_string(&text, name);
	return text.length < sizeof(path) && file_open(file, path);
}

/* True if it has a limit, and says what it uses. */
static bool group_open(struct group *group, const struct folder *folder, size_t length, const struct names *names)
{
	bool limited = false;
	uint64_t value;

	group->names = names;
	for (int i = 0; i < LIMIT_COUNT; i++) {
		if (names->limits[i] == NULL || !open_in(&group->limits[i], folder, length, names->limits[i]))
			continue;
		if (number_read(&group->limits[i], &value) && value < UNLIMITED)
			limited = true;
		else
			file_close(&group->limits[i]);
	}
	if (limited && open_in(&group->usage, folder, length, names->usage) &&
	    open_in(&group->stat, folder, length, names->stat) && number_read(&group->usage, &value) &&
	    stat_read(&group->stat, names->inactive, &value))
		return true;
	group_close(group);
	return false;
}

/* The process's own group, then those above it, as far as the mount shows them. */
static size_t groups_open(struct group *groups, size_t room, const struct folder *folder, const struct names *names)
{
	size_t length = strlen(folder->path);
	size_t count = 0;

	if (folder->mount_length == 0)
		return 0;
	while (count < room) {
		count += group_open(&groups[count], folder, length, names);
		if (length <= folder->mount_length)
			break;
		while (folder->path[--length] != '/')
			;
	}
	return count;
}

static bool stalls_take(uint64_t now_ns)
{
	watch.stalls_ns = now_ns;
	if (stalls_read(&watch.stalls))
		return true;
	file_close(&watch.stalls_file);
	return false;
}

static void stalls_open(const struct folder *folder, const char *machine, uint64_t now_ns)
{
	if (folder->mount_length > 0 && open_in(&watch.stalls_file, folder, strlen(folder->path), "memory.pressure") &&
	    stalls_take(now_ns))
		return;
	if (file_open(&watch.stalls_file, machine))
		stalls_take(now_ns);
}

void pressure_open(const struct pressure_places *places, uint64_t now_ns)
{
	struct folders folders;

	folders.v1.group[0] = folders.v2.group[0] = 0;
	folders.v1.path[0] = folders.v2.path[0] = 0;
	folders.v1.mount_length = folders.v2.mount_length = 0;
	folders.v1.shown = folders.v2.shown = false;
	pressure_rest();
	if (watch.forbidden)
		return;
	files_close();
	for_each_line(places->groups, group_line, &folders);
	for_each_line(places->mounts, mount_line, &folders);
	size_t count = groups_open(watch.groups, GROUPS_MAX, &folders.v2, &names_v2);
	count += groups_open(watch.groups + count, GROUPS_MAX - count, &folders.v1, &names_v1);
	stalls_open(&folders.v2, places->stalls, now_ns);
	if (count > 0 || watch.stalls_file.number != 0)
		filters_open();
}

/* ---- Looking ---- */

static bool exceeds(uint64_t used, uint64_t limit, uint64_t percent)
{
	return limit < UNLIMITED && used >= limit / 100 * percent;
}

static enum pressure level_of(const uint64_t limits[LIMIT_COUNT], uint64_t used)
{
	if (exceeds(used, limits[LIMIT_MAX], MUCH_PERCENT))
		return PRESSURE_MUCH;
	if (exceeds(used, limits[LIMIT_MAX], SOME_PERCENT) || exceeds(used, limits[LIMIT_HIGH], SOME_PERCENT))
		return PRESSURE_SOME;
	return PRESSURE_NONE;
}

static enum pressure group_look(struct group *group)
{
	uint64_t limits[LIMIT_COUNT] = { UINT64_MAX, UINT64_MAX };
	uint64_t used, inactive = 0;

	if (group->usage.number == 0)
		return PRESSURE_NONE;
	if (!number_read(&group->usage, &used)) {
		forget(&group->usage);
		return PRESSURE_NONE;
	}
	for (int i = 0; i < LIMIT_COUNT; i++)
		if (group->limits[i].number != 0 && !number_read(&group->limits[i], &limits[i])) {
			forget(&group->limits[i]);
			limits[i] = UINT64_MAX;
		}
	/* Only now is it worth the longer text. */
	if (level_of(limits, used) == PRESSURE_NONE)
		return PRESSURE_NONE;
	if (!stat_read(&group->stat, group->names->inactive, &inactive)) {
		forget(&group->stat);
		forget(&group->usage);
		return PRESSURE_NONE;
	}
	return level_of(limits, used > inactive ? used - inactive : 0);
}

static bool has_stalled(uint64_t before_us, uint64_t after_us, uint64_t elapsed_ns)
{
	return after_us > before_us && (after_us - before_us) * 1000 >= elapsed_ns / STALLED_FRACTION;
}

static enum pressure stalls_look(uint64_t now_ns)
{
	struct stalls before = watch.stalls;
	uint64_t elapsed = now_ns - watch.stalls_ns;
	struct stalls now;

	if (watch.stalls_file.number == 0 || elapsed < STALL_NS_MIN)
		return PRESSURE_NONE;
	if (!stalls_read(&now)) {
		forget(&watch.stalls_file);
		return PRESSURE_NONE;
	}
	watch.stalls = now;
	watch.stalls_ns = now_ns;
	if (has_stalled(before.full_us, now.full_us, elapsed))
		return PRESSURE_MUCH;
	return has_stalled(before.some_us, now.some_us, elapsed) ? PRESSURE_SOME : PRESSURE_NONE;
}

void pressure_look(uint64_t now_ns)
{
	if (!files_may_be_touched())
		return;
	enum pressure found = stalls_look(now_ns);

	for (size_t i = 0; i < GROUPS_MAX; i++) {
		enum pressure here = group_look(&watch.groups[i]);
		found = here > found ? here : found;
	}
	if (found > PRESSURE_NONE)
		atomic_fetch_add_explicit(&watch.looks, 1, memory_order_relaxed);
	if (found >= pressure_level() || ++watch.calm == CALM_LOOKS)
		level_set(found);
}

void pressure_fork_child(void)
{
	/* The files stay open until a scavenger of the child's opens its own: a sandbox may forbid to look which they are. */
	atomic_store_explicit(&pressure_now, PRESSURE_NONE, memory_order_relaxed);
}

uint64_t pressure_looks(void)
{
	return atomic_load_explicit(&watch.looks, memory_order_relaxed);
}

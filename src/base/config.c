/* Configuration files: see config.h. */
#include "base/config.h"

#include <errno.h>
#include <string.h>

#include "base/slice.h"

/* ---- Which files ---- */

size_t config_files(const struct config_environment *environment, struct config_file files[2], char *buffer, size_t capacity)
{
	struct text path = text_over(buffer, capacity);

	files[0] = (struct config_file){ CONFIG_SYSTEM_PATH, OPTION_FROM_SYSTEM_FILE };
	if (environment->secure)
		return 1;
	if (environment->named != NULL) {
		files[1] = (struct config_file){ environment->named, OPTION_FROM_NAMED_FILE };
		return *environment->named != 0 ? 2 : 1;
	}
	/* A relative path is to be ignored (XDG Base Directory Specification). */
	if (environment->configuration != NULL && environment->configuration[0] == '/')
		text_format(&path, "%s/quarry.conf", environment->configuration);
	else if (environment->home != NULL && environment->home[0] == '/')
		text_format(&path, "%s/.config/quarry.conf", environment->home);
	files[1] = (struct config_file){ buffer, OPTION_FROM_USER_FILE };
	return path.length > 0 && path.length < capacity ? 2 : 1;
}

unsigned config_unread(const struct config_file *file, int error, struct text *complaints)
{
	bool absent = error == ENOENT || error == ENOTDIR || error == EACCES;

	if (absent && file->source != OPTION_FROM_NAMED_FILE)
		return 0;
	if (error == EFBIG)
		text_format(complaints, "quarry: %s: too large; allowed: %u bytes\n", file->path, (uint64_t)CONFIG_BYTES_MAX);
	else
		text_format(complaints, "quarry: %s: can't be read (error %u)\n", file->path, (uint64_t)error);
	return 1;
}

/* ---- Sections ---- */

/* Greedy, with one place to go back to: a later * never needs an earlier one to take more. */
static bool pattern_matches(struct slice pattern, struct slice text)
{
	size_t at = 0, star = SIZE_MAX, resumed = 0;

	for (size_t i = 0; i < text.length;) {
		if (at < pattern.length && pattern.bytes[at] == '*') {
			star = at++;
			resumed = i;
		} else if (at < pattern.length && (pattern.bytes[at] == '?' || pattern.bytes[at] == text.bytes[i])) {
			at++;
			i++;
		} else if (star != SIZE_MAX) {
			at = star + 1;
			i = ++resumed;
		} else {
			return false;
		}
	}
	while (at < pattern.length && pattern.bytes[at] == '*')
		at++;
	return at == pattern.length;
}

static struct slice last_part(struct slice path)
{
	const char *slash = path.length > 0 ? memrchr(path.bytes, '/', path.length) : NULL;

	if (slash == NULL)
		return path;
	return (struct slice){ slash + 1, (size_t)(path.bytes + path.length - slash - 1) };
}

static bool section_matches(struct slice patterns, struct slice program)
{
	if (program.length == 0)
		return false;
	while ((patterns = slice_trim(patterns)).length > 0) {
		struct slice pattern = slice_trim(slice_cut(&patterns, ' '));
		bool whole = memchr(pattern.bytes, '/', pattern.length) != NULL;
		if (pattern_matches(pattern, whole ? program : last_part(program)))
			return true;
	}
	return false;
}

static bool is_section(struct slice line)
{
	return line.length > 0 && line.bytes[0] == '[';
}

/* What stands between the brackets; false, and a complaint, if nothing can. */
static bool section_read(struct slice line, const struct option_place *place, struct slice *patterns, struct text *complaints)
{
	if (line.length > 2 && line.bytes[line.length - 1] == ']')
		*patterns = slice_trim((struct slice){ line.bytes + 1, line.length - 2 });
	else
		patterns->length = 0;
	if (patterns->length > 0)
		return true;
	options_complain(place, line.bytes, line.length, "not a section", "[PROGRAM], or several with blanks between",
	                 complaints);
	return false;
}

unsigned config_parse(struct options *options, const char *text, size_t length, const char *program,
                      const struct config_file *file, struct text *complaints)
{
	struct option_place place = { .source = file->source, .file = file->path };
	struct slice rest = { text, length };
	struct slice patterns;
	bool applies = true;
	unsigned count = 0;

	while (rest.length > 0) {
		struct slice line = slice_trim(slice_cut(&rest, '\n'));
		place.line++;
		if (line.length == 0 || line.bytes[0] == '#')
			continue;
		if (!is_section(line)) {
			if (applies)
				count += options_parse_at(options, line.bytes, line.length, &place, complaints);
		} else if (section_read(line, &place, &patterns, complaints)) {
			applies = section_matches(patterns, slice_of(program));
		} else {
			applies = false;
			count++;
		}
	}
	return count;
}

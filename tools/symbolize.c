/* `quarry symbolize`, and what `quarry run --guard` does with the reports of its program: see symbolize.h.
 *
 * A report in text names its modules with their build ids behind its stacks; so it is held until its last line. A report
 * in JSON is one line. What is not part of a report is passed on as it comes. */
#include "tools/symbolize.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"
#include "tools/source.h"

/* A report is not longer than this; what claims to be is no report. */
#define REPORT_LINES_MAX 20000

/* Line by line, as they came. */
struct lines {
	char **lines;
	size_t count;
};

static void lines_add(struct lines *lines, const char *line)
{
	lines->lines = resize_array(lines->lines, lines->count + 1, sizeof(char *));
	lines->lines[lines->count++] = copy_text(line);
}

static void lines_free(struct lines *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		free(lines->lines[i]);
	free(lines->lines);
	*lines = (struct lines){ 0 };
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* "FUNCTION at FILE:LINE", as far as known. */
static void frame_print(FILE *output, const struct source_frame *frame)
{
	fprintf(output, "%s", frame->function != NULL ? frame->function : "?");
	if (frame->file != NULL)
		fprintf(output, " at %s:%d", frame->file, frame->line);
}

/* ---- Text ---- */

static const char module_word[] = "  module   ";
static const char build_id_word[] = " build-id ";

/* The build id that the report gives for a path, in `build_id`; "" if none. */
static void build_id_find(const struct lines *report, const char *path, char *build_id, size_t bytes)
{
	size_t length = strlen(path);

	build_id[0] = 0;
	for (size_t i = 0; i < report->count; i++) {
		const char *line = report->lines[i];
		if (!begins_with(line, module_word) || strncmp(line + sizeof(module_word) - 1, path, length) != 0 ||
		    line[sizeof(module_word) - 1 + length] != ' ')
			continue;
		const char *word = strstr(line, build_id_word);
		if (word != NULL)
			snprintf(build_id, bytes, "%.*s", (int)strcspn(word + sizeof(build_id_word) - 1, "\n "),
			         word + sizeof(build_id_word) - 1);
	}
}

/* "    #N 0xPC ... (PATH+0xOFFSET)\n": path, which is cut out of `line`, and offset. */
static bool frame_parse(char *line, char **path, uint64_t *offset)
{
	size_t digits = begins_with(line, "    #") ? strspn(line + 5, "0123456789") : 0;
	char *end = strrchr(line, ')');
	char *plus = NULL;

	if (digits == 0 || !begins_with(line + 5 + digits, " 0x") || end == NULL)
		return false;
	for (char *c = end; c > line && plus == NULL; c--)
		if (begins_with(c, "+0x"))
			plus = c;
	char *start = strstr(line, " (");
	if (plus == NULL || start == NULL || start > plus)
		return false;
	*offset = strtoull(plus + 1, NULL, 16);
	*plus = 0;
	*path = start + 2;
	return true;
}

/* `exact`: the address is an instruction; else the one behind a call. */
static void frame_line(const struct lines *report, const char *line, bool exact, FILE *output)
{
	char *copy = copy_text(line);
	char *path = NULL;
	uint64_t offset = 0;
	struct source_frames frames = { 0 };

	if (frame_parse(copy, &path, &offset)) {
		char build_id[128];
		build_id_find(report, path, build_id, sizeof(build_id));
		frames = source_find(path, build_id, offset - !exact);
	}
	if (frames.count == 0)
		fputs(line, output);
	for (size_t i = 0; i < frames.count; i++) {
		/* "    #N 0xPC" */
		size_t head = 5 + strspn(line + 5, "0123456789") + 1;
		head += strcspn(line + head, " \n");
		fprintf(output, "%.*s ", (int)head, line);
		frame_print(output, &frames.frames[i]);
		if (frames.frames[i].inlined)
			fputs(" (inlined)\n", output);
		else
			fprintf(output, " (%s+%#jx)\n", path, (uintmax_t)offset);
	}
	if (frames.other_file)
		fprintf(output, "       %s has changed since: its build id is another\n", path);
	source_frames_free(&frames);
	free(copy);
}

static void report_print(const struct lines *report, FILE *output)
{
	bool exact = false;

	for (size_t i = 0; i < report->count; i++) {
		const char *line = report->lines[i];
		if (begins_with(line, "    #"))
			frame_line(report, line, exact, output);
		else
			fputs(line, output);
		exact = begins_with(line, "  accessed by");
	}
	fflush(output);
}

/* ---- JSON: what the library writes, member by member in its order ---- */

static const char pc_member[] = "{\"pc\":\"";
static const char module_member[] = "\",\"module\":\"";
static const char offset_member[] = "\",\"offset\":\"0x";

static void json_print(FILE *output, const char *name, const char *value)
{
	fprintf(output, ",\"%s\":\"", name);
	for (; *value != 0; value++) {
		unsigned char c = (unsigned char)*value;
		if (c == '"' || c == '\\')
			fprintf(output, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(output, "\\u%04x", c);
		else
			fputc(c, output);
	}
	fputc('"', output);
}

/* The end of a string that begins here, without its quote. */
static const char *json_end(const char *text)
{
	while (*text != '"' && *text != 0)
		text += 1 + (*text == '\\' && text[1] != 0);
	return text;
}

static void json_build_id(const char *line, const char *path, char *build_id, size_t bytes)
{
	static const char word[] = "\"build_id\":\"";
	char *member = format_text("{\"path\":\"%s\"", path);
	const char *module = strstr(line, member);
	const char *found = module != NULL ? strstr(module, word) : NULL;

	build_id[0] = 0;
	if (found != NULL)
		snprintf(build_id, bytes, "%.*s", (int)strcspn(found + sizeof(word) - 1, "\""), found + sizeof(word) - 1);
	free(member);
}

static void json_sources(const char *line, const char *path, uint64_t offset, FILE *output)
{
	char build_id[128];

	json_build_id(line, path, build_id, sizeof(build_id));
	struct source_frames frames = source_find(path, build_id, offset);
	fputs(",\"source\":[", output);
	for (size_t i = 0; i < frames.count; i++) {
		const struct source_frame *frame = &frames.frames[i];
		fprintf(output, "%s{\"line\":%d", i > 0 ? "," : "", frame->line);
		json_print(output, "function", frame->function != NULL ? frame->function : "");
		json_print(output, "file", frame->file != NULL ? frame->file : "");
		fprintf(output, ",\"inlined\":%s}", frame->inlined ? "true" : "false");
	}
	fputc(']', output);
	source_frames_free(&frames);
}

static void json_report_print(const char *line, FILE *output)
{
	bool access = strstr(line, "\"access\":\"") != NULL;
	const char *at = line;
	const char *here = strstr(line, "\"here\":{\"frames\":[");

	for (const char *frame; (frame = strstr(at, pc_member)) != NULL;) {
		const char *end = json_end(frame + sizeof(pc_member) - 1);
		const char *path = end + sizeof(module_member) - 1;
		bool exact = access && here != NULL && frame == here + strlen("\"here\":{\"frames\":[");

		if (begins_with(end, module_member) && begins_with(json_end(path), offset_member)) {
			char *name = format_text("%.*s", (int)(json_end(path) - path), path);
			const char *digits = json_end(path) + sizeof(offset_member) - 1;
			uint64_t offset = strtoull(digits, NULL, 16);

			end = json_end(digits);
			end += *end == '"';
			fwrite(at, 1, (size_t)(end - at), output);
			json_sources(line, name, offset - !exact, output);
			free(name);
		} else {
			fwrite(at, 1, (size_t)(end - at), output);
		}
		at = end;
	}
	fputs(at, output);
	fflush(output);
}

/* ---- Both ---- */

static bool is_json_report(const char *line)
{
	return begins_with(line, "{\"quarry\":\"report\"");
}

/* A report's first line: a function and a pointer, an access, or leaks. */
static bool is_first_line(const char *line)
{
	return begins_with(line, "quarry: ") &&
	       (strstr(line, "(0x") != NULL || strstr(line, " at 0x") != NULL || begins_with(line, "quarry: leaks: "));
}

int symbolize(FILE *input, FILE *output, const char *end)
{
	struct lines report = { 0 };
	char *line = NULL;
	size_t capacity = 0;

	while (getline(&line, &capacity, input) > 0 && (end == NULL || strcmp(line, end) != 0)) {
		if (is_json_report(line)) {
			json_report_print(line, output);
			continue;
		}
		/* What follows a first line is indented; anything else ends the report early. */
		if (report.count > 0 && (line[0] != ' ' || report.count == REPORT_LINES_MAX)) {
			report_print(&report, output);
			lines_free(&report);
		}
		if (report.count == 0 && !is_first_line(line)) {
			fputs(line, output);
			fflush(output);
			continue;
		}
		lines_add(&report, line);
		if (begins_with(line, "  meaning  ")) {
			report_print(&report, output);
			lines_free(&report);
		}
	}
	int error = ferror(input) ? errno : 0;
	report_print(&report, output);
	lines_free(&report);
	free(line);
	return error;
}

/* ---- The command ---- */

static const char documentation[] =
	"Copies FILE (or standard input) to standard output and puts functions, files, lines and inlined calls into the reports "
	"in it.\v"
	"The programs and libraries are read where the report says they are, and their separate debug files where the system "
	"keeps those, found by build id; a file that has changed since is not used. `quarry run --guard' does this by itself.";

static error_t argument_take(int key, char *argument, struct argp_state *state)
{
	const char **path = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (*path != NULL)
			fail(argp_err_exit_status, "symbolize: one file at a time, not also %s", argument);
		*path = argument;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int command_symbolize(int argc, char **argv)
{
	const struct argp argp = { .parser = argument_take, .args_doc = "[FILE]", .doc = documentation };
	const char *path = NULL;

	argp_parse(&argp, argc, argv, 0, NULL, &path);
	if (!source_is_available())
		complain("symbolize: built without elfutils' libdw: names of functions and lines are not known");
	FILE *input = path != NULL ? fopen(path, "re") : stdin;
	int error = input == NULL ? errno : symbolize(input, stdout, NULL);
	if (error != 0) {
		complain("%s: %s", path != NULL ? path : "standard input", strerror(error));
		return argp_err_exit_status;
	}
	return 0;
}

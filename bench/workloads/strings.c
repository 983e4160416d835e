/* Text as scripts handle it: lines are split into words, words are changed, and lines are joined again.
 *
 * Stresses short strings of a few dozen bytes that live for a line, arrays and strings that grow by realloc as they are
 * appended to, and a history of lines that ages slowly between them. Perl, awk, JavaScript and std::string do this all
 * day. Each line is split, every third word is replaced by a longer one (each old word is freed as its successor is
 * there), the rest is duplicated, and all is joined with commas. The sum of the letters is known before and checked
 * after.
 */
#include "bench.h"

enum { WORDS_LEAST = 6, WORDS_MOST = 30, LETTERS_MOST = 20, LINE_BYTES = WORDS_MOST * (LETTERS_MOST + 1) + 1 };

static const char suffix[] = "-and-more";

struct text {
	char *start;
	size_t length, capacity;
};

static void text_append(struct text *text, const char *more, size_t length)
{
	if (text->length + length + 1 > text->capacity) {
		text->capacity = text->capacity ? 2 * text->capacity : 16;
		if (text->capacity < text->length + length + 1)
			text->capacity = text->length + length + 1;
		text->start = need(realloc(text->start, text->capacity));
	}
	memcpy(text->start + text->length, more, length);
	text->length += length;
	text->start[text->length] = 0;
}

/* A line of words with one blank between. Outside of the allocator. */
static void line_make(char *line, uint64_t *seed)
{
	uint64_t words = random_between(seed, WORDS_LEAST, WORDS_MOST);
	for (uint64_t w = 0; w < words; w++) {
		uint64_t letters = random_between(seed, 1, LETTERS_MOST), bits = random_next(seed);
		for (uint64_t i = 0; i < letters; i++)
			*line++ = (char)('a' + (bits >> i & 15));
		*line++ = w + 1 < words ? ' ' : 0;
	}
}

static char **split(const char *line, size_t *count)
{
	char **words = NULL;
	size_t capacity = 0;
	*count = 0;
	while (*line) {
		size_t length = strcspn(line, " ");
		if (*count == capacity)
			words = need(realloc(words, (capacity = capacity ? 2 * capacity : 4) * sizeof *words));
		words[(*count)++] = need(strndup(line, length));
		line += length + (line[length] == ' ');
	}
	return words;
}

static char *word_change(char *word, size_t number)
{
	struct text text = {NULL, 0, 0};
	if (number % 3)
		text.start = need(strdup(word));
	else {
		text_append(&text, word, strlen(word));
		text_append(&text, suffix, strlen(suffix));
	}
	free(word);
	return text.start;
}

/* Frees the words. */
static char *join(char **words, size_t count)
{
	struct text text = {NULL, 0, 0};
	for (size_t i = 0; i < count; i++) {
		if (i)
			text_append(&text, ",", 1);
		text_append(&text, words[i], strlen(words[i]));
		free(words[i]);
	}
	free(words);
	return need(realloc(text.start, text.length + 1));
}

static uint64_t letters_sum(const char *text)
{
	uint64_t sum = 0;
	for (; *text; text++)
		if (*text >= 'a')
			sum += (uint64_t)(*text - 'a' + 1);
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t lines = 200000, history = 10000, seed = 1;
	const struct argument rows[] = {
	    {"lines", &lines, 1, UINT64_MAX, "lines in all"},
	    {"history", &history, 1, UINT32_MAX, "lines that are kept"},
	    {"seed", &seed, 0, UINT64_MAX, "seed of the generator"},
	};
	ARGUMENTS(argc, argv, rows);
	struct kept {
		char *line;
		uint64_t sum;
	} *kept = table_new(history, sizeof *kept);
	uint64_t suffix_sum = letters_sum(suffix);

	uint64_t start = now_ns();
	for (uint64_t n = 0; n < lines + history; n++) {
		struct kept *oldest = &kept[n % history];
		if (oldest->line && letters_sum(oldest->line) != oldest->sum)
			fail("a line lost its letters");
		free(oldest->line);
		oldest->line = NULL;
		if (n >= lines)
			continue;
		char line[LINE_BYTES];
		size_t count;
		line_make(line, &seed);
		char **words = split(line, &count);
		for (size_t i = 0; i < count; i++)
			words[i] = word_change(words[i], i);
		oldest->sum = letters_sum(line) + suffix_sum * ((count + 2) / 3);
		oldest->line = join(words, count);
	}
	result("line", (double)(now_ns() - start) / (double)lines, "ns");
	return 0;
}

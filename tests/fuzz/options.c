/* Fuzzing: QUARRY_OPTIONS, and configuration files. The first byte says which, and for which program. What was read is put
 * in words, and read back. */
#include "fuzz/fuzz.h"

#include "base/config.h"

static void must_read_back(const struct options *options)
{
	for (size_t i = 0; i < options_row_count(); i++) {
		char item[1024];
		char said[1024];
		struct text text = text_over(item, sizeof(item));
		struct text complaints = text_over(said, sizeof(said));
		struct options again;

		text_format(&text, "%s=", options_row(i)->name);
		options_value_text(options, options_row(i), &text);
		options_reset(&again);
		MUST(options_parse(&again, item, OPTION_FROM_ENVIRONMENT, &complaints) == 0);
		char *value = item + strlen(options_row(i)->name) + 1;
		char back[1024];
		struct text words = text_over(back, sizeof(back));
		options_value_text(&again, options_row(i), &words);
		MUST(strcmp(back, value) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const char *const programs[] = { "", "/usr/bin/perl", "/a/b/c", "x" };
	const struct config_file file = { "/etc/quarry.conf", OPTION_FROM_SYSTEM_FILE };
	struct options options;
	char said[300];
	struct text complaints = text_over(said, sizeof(said));

	if (length == 0)
		return 0;
	/* Exactly so long: what reads beyond it is seen. */
	char *text = malloc(length);
	memcpy(text, bytes + 1, length - 1);
	text[length - 1] = 0;
	options_reset(&options);
	unsigned count = bytes[0] % 8 == 0 ? options_parse(&options, text, OPTION_FROM_ENVIRONMENT, &complaints)
	                                   : config_parse(&options, text, length - 1, programs[bytes[0] % 4], &file, &complaints);
	MUST((count == 0) == (complaints.length == 0));
	must_read_back(&options);
	free(text);
	return 0;
}

/* Fuzzing: what `quarry symbolize` reads. Debug information is not looked for; every other address has names. */
#include "fuzz/fuzz.h"

#include "tools/source.h"
#include "tools/symbolize.h"

bool source_is_available(void)
{
	return true;
}

struct source_frames source_find(const char *path, const char *build_id, uint64_t offset)
{
	struct source_frames found = { .other_file = (offset & 2) != 0 };

	MUST(path != NULL && build_id != NULL);
	if ((offset & 1) != 0) {
		found.count = 2;
		found.frames = calloc(2, sizeof(*found.frames));
		found.frames[0] = (struct source_frame){ .function = strdup(path), .file = strdup(build_id), .line = 7, .inlined = true };
	}
	return found;
}

void source_frames_free(struct source_frames *frames)
{
	for (size_t i = 0; i < frames->count; i++) {
		free(frames->frames[i].function);
		free(frames->frames[i].file);
	}
	free(frames->frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *written = NULL;
	size_t written_bytes;

	if (length == 0)
		return 0;
	FILE *input = fmemopen((void *)(uintptr_t)bytes, length, "r");
	FILE *output = open_memstream(&written, &written_bytes);
	MUST(input != NULL && output != NULL);
	MUST(symbolize(input, output, NULL) == 0);
	fclose(input);
	fclose(output);
	free(written);
	return 0;
}

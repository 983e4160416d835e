/* Gives a fuzzed program (fuzz.h) the files that its arguments name, each as it is and changed a little in some ways that
 * are the same each time: for compilers without libFuzzer. Says how many inputs it was. */
#include "fuzz/fuzz.h"

enum { MOST = 1 << 16, CHANGES = 64 };

static uint64_t seed = 1;

static uint64_t draw(uint64_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (seed >> 33) % below;
}

static void change(uint8_t *bytes, size_t *length)
{
	for (uint64_t times = 1 + draw(4); times > 0 && *length > 0; times--) {
		size_t at = draw(*length);
		switch (draw(4)) {
		case 0:
			bytes[at] = (uint8_t)draw(256);
			break;
		case 1:
			bytes[at] ^= (uint8_t)(1 << draw(8));
			break;
		case 2:
			memmove(bytes + at, bytes + at + 1, *length - at - 1);
			--*length;
			break;
		default:
			if (*length < MOST) {
				memmove(bytes + at + 1, bytes + at, *length - at);
				++*length;
			}
		}
	}
}

/* A copy of just that length: what is read beyond it is seen by a sanitizer. */
static void give(const uint8_t *bytes, size_t length)
{
	uint8_t *exact = malloc(length > 0 ? length : 1);

	memcpy(exact, bytes, length);
	LLVMFuzzerTestOneInput(exact, length);
	free(exact);
}

int main(int argc, char **argv)
{
	static uint8_t bytes[MOST], changed[MOST];
	unsigned inputs = 0;

	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "r");
		MUST(file != NULL);
		size_t length = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		give(bytes, length);
		for (int n = 0; n < CHANGES; n++) {
			size_t changed_length = length;
			memcpy(changed, bytes, length);
			change(changed, &changed_length);
			give(changed, changed_length);
		}
		inputs += 1 + CHANGES;
	}
	printf("%u inputs\n", inputs);
	return 0;
}

/* What the fuzzed programs share. Each has one function that takes any bytes: libFuzzer calls it (scripts/fuzz), and
 * replay.c with the corpus, for the test. */
#ifndef QUARRY_TESTS_FUZZ_H
#define QUARRY_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#endif

/* A part of a string that ends without a 0. */
#ifndef QUARRY_BASE_SLICE_H
#define QUARRY_BASE_SLICE_H

#include <string.h>

#include "base/compiler.h"

struct slice {
	const char *bytes;
	size_t length;
};

static inline struct slice slice_of(const char *string)
{
	return (struct slice){ string, strlen(string) };
}

static inline bool slice_is(struct slice slice, const char *string)
{
	return slice.length == strlen(string) && memcmp(slice.bytes, string, slice.length) == 0;
}

/* Cuts off and returns what stands before the first `separator`; the whole if there is none. */
static inline struct slice slice_cut(struct slice *rest, char separator)
{
	const char *end = rest->length == 0 ? NULL : memchr(rest->bytes, separator, rest->length);
	struct slice head = { rest->bytes, end == NULL ? rest->length : (size_t)(end - rest->bytes) };
	size_t gone = end == NULL ? head.length : head.length + 1;

	rest->bytes += gone;
	rest->length -= gone;
	return head;
}

static inline bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r';
}

static inline struct slice slice_trim(struct slice slice)
{
	for (; slice.length > 0 && is_blank(slice.bytes[0]); slice.length--)
		slice.bytes++;
	while (slice.length > 0 && is_blank(slice.bytes[slice.length - 1]))
		slice.length--;
	return slice;
}

#endif

/* Text without stdio and without memory of its own: appends to a caller's buffer. Used by reports, options, JSON. */
#ifndef QUARRY_BASE_TEXT_H
#define QUARRY_BASE_TEXT_H

#include "base/compiler.h"

/* Invariant: the first min(length, capacity - 1) bytes are written and followed by a 0, if capacity > 0.
 * `length` goes on counting when the buffer is full, so a caller can tell what it would have needed. */
struct text {
	char *bytes;
	size_t capacity;
	size_t length;
};

/* A text over a buffer; capacity may be 0. */
struct text text_over(char *buffer, size_t capacity);

void text_char(struct text *text, char c);
void text_string(struct text *text, const char *string);
void text_bytes(struct text *text, const char *bytes, size_t length);
void text_decimal(struct text *text, uint64_t value);
/* "0x" and lower-case digits without leading zeros. */
void text_hex(struct text *text, uint64_t value);
/* A size as people read it: "40960 bytes (40 KiB)"; below 1 KiB only the bytes. */
void text_size(struct text *text, uint64_t bytes);

/* Replacements in a format of its own: %s const char *, %u uint64_t, %x uint64_t in hex, %p const void *,
 * %z uint64_t as text_size, %% a percent sign. Arguments for %u, %x and %z must be cast to uint64_t. */
void text_format(struct text *text, const char *format, ...);

/* How many bytes of it are in the buffer. */
size_t text_stored(const struct text *text);

/* Writes what is in the buffer to standard error. */
void text_write_error(const struct text *text);

#endif

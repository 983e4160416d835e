/* Text without stdio: see text.h. */
#include "base/text.h"

#include <stdarg.h>

#include "base/bits.h"
#include "base/port.h"

struct text text_over(char *buffer, size_t capacity)
{
	if (capacity > 0)
		buffer[0] = 0;
	return (struct text){ .bytes = buffer, .capacity = capacity };
}

void text_char(struct text *text, char c)
{
	if (text->length + 1 < text->capacity) {
		text->bytes[text->length] = c;
		text->bytes[text->length + 1] = 0;
	}
	text->length++;
}

void text_bytes(struct text *text, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		text_char(text, bytes[i]);
}

void text_string(struct text *text, const char *string)
{
	for (; *string != 0; string++)
		text_char(text, *string);
}

static void text_number(struct text *text, uint64_t value, unsigned base)
{
	char digits[20];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (count > 0)
		text_char(text, digits[--count]);
}

void text_decimal(struct text *text, uint64_t value)
{
	text_number(text, value, 10);
}

void text_hex(struct text *text, uint64_t value)
{
	text_string(text, "0x");
	text_number(text, value, 16);
}

void text_size(struct text *text, uint64_t bytes)
{
	static const struct {
		uint64_t bytes;
		const char *name;
	} units[] = { { GIB * KIB, " TiB" }, { GIB, " GiB" }, { MIB, " MiB" }, { KIB, " KiB" } };

	text_decimal(text, bytes);
	text_string(text, bytes == 1 ? " byte" : " bytes");
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (bytes < units[i].bytes)
			continue;
		uint64_t tenths = bytes / units[i].bytes * 10 + bytes % units[i].bytes * 10 / units[i].bytes;
		text_string(text, " (");
		text_decimal(text, tenths / 10);
		if (tenths % 10 != 0) {
			text_char(text, '.');
			text_decimal(text, tenths % 10);
		}
		text_string(text, units[i].name);
		text_char(text, ')');
		return;
	}
}

void text_format(struct text *text, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	for (; *format != 0; format++) {
		if (*format != '%' || format[1] == 0) {
			text_char(text, *format);
			continue;
		}
		switch (*++format) {
		case 's':
			text_string(text, va_arg(arguments, const char *));
			break;
		case 'u':
			text_decimal(text, va_arg(arguments, uint64_t));
			break;
		case 'x':
			text_hex(text, va_arg(arguments, uint64_t));
			break;
		case 'p':
			text_hex(text, (uintptr_t)va_arg(arguments, const void *));
			break;
		case 'z':
			text_size(text, va_arg(arguments, uint64_t));
			break;
		default:
			text_char(text, *format);
		}
	}
	va_end(arguments);
}

size_t text_stored(const struct text *text)
{
	if (text->capacity == 0)
		return 0;
	return text->length < text->capacity ? text->length : text->capacity - 1;
}

void text_write_error(const struct text *text)
{
	port_write_error(text->bytes, text_stored(text));
}

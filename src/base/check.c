/* The one exit for what must not be: see check.h. */
#include "base/check.h"

#include "base/port.h"
#include "base/text.h"

_Noreturn void die(const char *what, const char *file, int line)
{
	char buffer[512];
	struct text text = text_over(buffer, sizeof(buffer));

	text_format(&text, "quarry: fatal: %s, at %s:%u. This is a bug in Quarry, or its own memory was overwritten.\n",
	            what, file, (uint64_t)line);
	text_write_error(&text);
	port_abort();
}

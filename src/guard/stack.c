/* Stacks and threads by number: see stack.h. Nothing is known of any of them yet. */
#include "guard/stack.h"

uint32_t stack_capture(const void *frame UNUSED, unsigned skip UNUSED) { return 0; }
size_t stack_frames(uint32_t stack UNUSED, uintptr_t *frames UNUSED, size_t most UNUSED) { return 0; }
size_t stack_capture_context(const void *ucontext UNUSED, uintptr_t *frames UNUSED, size_t most UNUSED) { return 0; }
uint32_t thread_note(void) { return 0; }

void thread_note_get(uint32_t note UNUSED, int *id, char name[16])
{
	*id = 0;
	name[0] = 0;
}

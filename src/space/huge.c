/* Huge pages: see huge.h. */
#include "space/huge.h"

#include <stdatomic.h>

#include "os/os.h"

static _Atomic uint32_t huge_wish = HUGE_NONE;

void huge_configure(enum huge wish)
{
	atomic_store_explicit(&huge_wish, wish, memory_order_relaxed);
}

static enum huge wish_now(void)
{
	return (enum huge)atomic_load_explicit(&huge_wish, memory_order_relaxed);
}

bool huge_is_wanted(void)
{
	return wish_now() == HUGE_WANTED;
}

/* A kernel without huge pages refuses, which is as good. */
void huge_note_reserved(void *address, size_t bytes)
{
	if (wish_now() == HUGE_NONE)
		os_advise_huge(address, bytes, false);
}

void huge_note_region(void *address, size_t bytes)
{
	if (wish_now() == HUGE_WANTED)
		os_advise_huge(address, bytes, true);
}

static int noted(int error, void *address, size_t bytes)
{
	if (error == 0) {
		huge_note_reserved(address, bytes);
		huge_note_region(address, bytes);
	}
	return error;
}

int huge_remap_fresh(void *address, size_t bytes)
{
	return noted(os_remap_fresh(address, bytes), address, bytes);
}

int huge_uncommit(void *address, size_t bytes)
{
	return noted(os_uncommit(address, bytes), address, bytes);
}

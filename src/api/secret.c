/* Memory for secrets: see secret.h.
 *
 *   | guard | filled | the block | filled, up to 15 bytes | guard |
 *
 * The table has no lock, so a fork meets none: who turns a row's address from 0, or back, owns the row meanwhile. */
#include "api/secret.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/bits.h"
#include "block/ledger.h"
#include "guard/guarded.h"
#include "guard/report.h"
#include "os/os.h"

#define ALIGNMENT ((size_t)16)
#define ROW_FREE ((uintptr_t)0)
#define ROW_TAKEN ((uintptr_t)1)

struct row {
	_Atomic uintptr_t block;        /* stored with release when the rest is */
	size_t size;
	uint32_t epoch;                 /* of the process that made it: a child's are wiped */
};

static struct row rows[SECRETS_MAX];
/* Some was made: every foreign pointer is looked for here. */
static _Atomic bool any;

static bool row_turn(struct row *row, uintptr_t from, uintptr_t to)
{
	return atomic_compare_exchange_strong_explicit(&row->block, &from, to, memory_order_acq_rel, memory_order_relaxed);
}

static struct row *row_take(uintptr_t from)
{
	for (size_t i = 0; i < SECRETS_MAX; i++)
		if (atomic_load_explicit(&rows[i].block, memory_order_relaxed) == from && row_turn(&rows[i], from, ROW_TAKEN))
			return &rows[i];
	return NULL;
}

static void row_set(struct row *row, uintptr_t block)
{
	atomic_store_explicit(&row->block, block, memory_order_release);
}

/* Accessible pages of a block. */
static size_t pages_bytes(size_t size)
{
	return ROUND_UP(max_size(size, 1), os_page_bytes());
}

static int prepare(char *pages, size_t bytes)
{
	int error = os_commit(pages, bytes);

	if (error == 0)
		error = os_hide_from_dumps(pages, bytes);
	if (error == 0)
		error = os_wipe_on_fork(pages, bytes);
	return error != 0 ? error : os_lock(pages, bytes);
}

int secret_make(size_t size, void **block)
{
	size_t page = os_page_bytes();

	if (size > PTRDIFF_MAX - 4 * page)
		return -ENOMEM;
	struct row *row = row_take(ROW_FREE);
	if (row == NULL)
		return -ENOMEM;
	size_t bytes = pages_bytes(size);
	char *mapping = os_reserve(bytes + 2 * page);
	int error = mapping == NULL ? -ENOMEM : prepare(mapping + page, bytes);
	if (error != 0) {
		if (mapping != NULL)
			os_unmap(mapping, bytes + 2 * page);
		row_set(row, ROW_FREE);
		return error;
	}
	size_t offset = ROUND_DOWN(bytes - max_size(size, 1), ALIGNMENT);
	memset(mapping + page, GUARDED_SLACK_BYTE, bytes);
	memset(mapping + page + offset, 0, size);
	*block = mapping + page + offset;
	atomic_store_explicit(&any, true, memory_order_relaxed);
	row->size = size;
	row->epoch = epoch_now();
	row_set(row, (uintptr_t)*block);
	return 0;
}

static bool is_filled(const unsigned char *from, const unsigned char *to)
{
	while (from < to && *from == GUARDED_SLACK_BYTE)
		from++;
	return from == to;
}

static void check(unsigned char *pages, size_t bytes, unsigned char *block, size_t size)
{
	if (!is_filled(block + size, pages + bytes))
		report_damage("quarry_secure_free", block, REPORT_OVERFLOW, size, size);
	if (!is_filled(pages, block))
		report_damage("quarry_secure_free", block, REPORT_UNDERFLOW, size, 0);
}

void secret_free(void *block)
{
	if (block == NULL)
		return;
	struct row *row = (uintptr_t)block > ROW_TAKEN ? row_take((uintptr_t)block) : NULL;
	if (row == NULL) {
		report_foreign_pointer("quarry_secure_free", block);
		return;
	}
	size_t page = os_page_bytes();
	size_t bytes = pages_bytes(row->size);
	unsigned char *pages = (unsigned char *)ROUND_DOWN((uintptr_t)block, page);
	if (row->epoch == epoch_now())
		check(pages, bytes, block, row->size);
	os_zero(pages, bytes);
	os_unmap(pages - page, bytes + 2 * page);
	row_set(row, ROW_FREE);
}

bool secret_is(const void *pointer)
{
	if (!atomic_load_explicit(&any, memory_order_relaxed) || (uintptr_t)pointer <= ROW_TAKEN)
		return false;
	for (size_t i = 0; i < SECRETS_MAX; i++)
		if (atomic_load_explicit(&rows[i].block, memory_order_relaxed) == (uintptr_t)pointer)
			return true;
	return false;
}

/* The memory and the bounds of magazines: see magazine.h. */
#include "thread/magazine.h"

#include <string.h>

#include "base/check.h"
#include "block/secure.h"
#include "space/meta.h"

/* Bounds are powers of two less one, so that entries and sentinel fill what memory is taken for them. */
#define ALLOWED_START 7
/* With random places: so that there is something to choose from. */
#define ALLOWED_START_RANDOM 127
/* And refilled when they hold no more than this part of what they may, or than there is choice: well below what a drop leaves. */
#define LOW_FRACTION 3

/* What every empty magazine without memory points to: no block, and no room. */
static const struct entry sentinel;

#define EMPTY_MAGAZINE { .top = (struct entry *)&sentinel, .limit = (struct entry *)&sentinel }

struct heap heap_empty __attribute__((section(".data.rel.ro"))) = { .magazines = { [0 ... CLASS_COUNT - 1] = EMPTY_MAGAZINE } };

static uint16_t allowed_max(unsigned class_index)
{
	return size_classes[class_index].magazine_max;
}

void magazine_forget(struct heap *heap, unsigned class_index)
{
	heap->magazines[class_index] = heap->stock[class_index] = heap_empty.magazines[class_index];
	if (heap->stock != heap->magazines) {
		heap->counted.fronts[class_index] = NULL;
		heap->counted.low[class_index] = heap_empty.magazines[class_index].top;
	}
	heap->bins[class_index].entries = NULL;
	heap->bins[class_index].capacity = 0;
	heap->bins[class_index].allowed = 0;
	heap->bins[class_index].filled = heap->bins[class_index].gained = 0;
	heap->bins[class_index].untouched = heap->bins[class_index].exports = heap->bins[class_index].looks = 0;
	heap->bins[class_index].passes = 0;
}

static void set_limit(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];

	heap->stock[class_index].limit = bin->entries + bin->allowed;
	if (heap->stock != heap->magazines) {
		size_t low = min_size(bin->allowed / LOW_FRACTION, secure_choice(class_index) + HEAP_AHEAD - 1u);
		/* heap_pick_quick relies on it. */
		DCHECK(!secure.quick || class_index >= SECURE_QUICK_CLASSES ||
		       low == secure_choice(class_index) + HEAP_AHEAD - 1u);
		heap->counted.low[class_index] = bin->entries + low;
	}
}

/* Memory for at least `allowed` entries behind the sentinel; contents move along. */
static bool reserve(struct heap *heap, unsigned class_index, uint16_t allowed)
{
	struct bin *bin = &heap->bins[class_index];
	size_t count = magazine_count(heap, class_index);

	if (allowed <= bin->capacity)
		return true;
	size_t bytes = power_of_two_ceil((allowed + 1u) * sizeof(struct entry));
	lock_take(&space_lock);
	struct entry *entries = meta_alloc_recycled(bytes);
	if (entries != NULL && bin->entries != NULL) {
		memcpy(entries, bin->entries, (count + 1) * sizeof(*entries));
		meta_free_recycled(bin->entries, (bin->capacity + 1u) * sizeof(*entries));
	}
	lock_release(&space_lock);
	if (entries == NULL)
		return false;
	entries[0] = sentinel;
	bin->entries = entries;
	bin->capacity = (uint16_t)(bytes / sizeof(*entries) - 1);
	heap->stock[class_index].top = entries + count;
	return true;
}

bool magazine_grow(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];
	uint16_t start = (uint16_t)min_size(secure.random ? ALLOWED_START_RANDOM : ALLOWED_START, allowed_max(class_index));
	uint16_t allowed = bin->allowed == 0 ? start : bin->allowed;

	if (bin->allowed != 0 && !bin->dropped)
		allowed = (uint16_t)min_size(allowed * 2u + 1, allowed_max(class_index));
	bin->dropped = false;
	if (reserve(heap, class_index, allowed))
		bin->allowed = allowed;
	else if (bin->entries == NULL)
		return false;
	set_limit(heap, class_index);
	return true;
}

void magazine_close(struct heap *heap, unsigned class_index)
{
	DCHECK(magazine_count(heap, class_index) == 0);
	heap->stock[class_index].limit = heap->bins[class_index].entries;
}

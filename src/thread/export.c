/* Export: see export.h. */
#include "thread/export.h"

/* A heap that finds so much freed by others at once has sat on it for long. */
#define EXPORT_BYTES MIB
#define EXPORT_AFTER 4
#define EXPORT_REFILLS 250
/* A single such thread has nobody to share with. */
#define EXPORTERS_MIN 2

/* Heaps in use that have a class to export. */
static _Atomic uint32_t exporters;

void export_fork_child(const struct heap *own)
{
	atomic_store_explicit(&exporters, own != NULL && own->exports, memory_order_relaxed);
}

uint32_t export_heaps(void)
{
	return atomic_load_explicit(&exporters, memory_order_relaxed);
}

void export_sample(struct bin *bin, size_t filled)
{
	bin->filled = (uint16_t)filled;
	bin->samples[0] = bin->entries[1].block;
	bin->samples[1] = bin->entries[(filled + 1) / 2].block;
}

static bool sample_is_untouched(const struct bin *bin)
{
	return bin->filled > 0 && bin->samples[0] == bin->entries[1].block &&
	       bin->samples[1] == bin->entries[(bin->filled + 1u) / 2].block;
}

void export_learn(struct heap *heap, unsigned class_index)
{
	struct bin *bin = &heap->bins[class_index];

	if (bin->exports > 0) {
		bin->exports--;
		return;
	}
	if (bin->entries == NULL || !sample_is_untouched(bin)) {
		bin->untouched = 0;
		bin->gained = 0;
		return;
	}
	if (bin->untouched < EXPORT_AFTER) {
		bin->untouched++;
		return;
	}
	if (!heap->sat_on_much || bin->gained < EXPORT_AFTER * bin->filled)
		return;
	if (!heap->exports) {
		heap->exports = true;
		atomic_fetch_add_explicit(&exporters, 1, memory_order_relaxed);
	}
	if (export_heaps() >= EXPORTERS_MIN) {
		bin->exports = EXPORT_REFILLS;
		bin->untouched = 0;
		bin->gained = 0;
	}
}

void export_gathered(struct heap *heap, size_t bytes)
{
	heap->sat_on_much |= bytes >= EXPORT_BYTES;
}

void export_retire(struct heap *heap)
{
	if (heap->exports)
		atomic_fetch_sub_explicit(&exporters, 1, memory_order_relaxed);
	heap->exports = heap->sat_on_much = false;
	for (unsigned class_index = 0; class_index < CLASS_COUNT; class_index++)
		heap->bins[class_index].exports = 0;
}

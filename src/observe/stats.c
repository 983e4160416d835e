/* Figures: see stats.h. */
#include "observe/stats.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "block/large.h"
#include "block/slab.h"
#include "block/sweep.h"
#include "guard/guarded.h"
#include "observe/residency.h"
#include "observe/walk.h"
#include "space/meta.h"
#include "space/pressure.h"
#include "space/purge.h"
#include "space/region.h"
#include "space/span.h"
#include "thread/pool.h"

#define SUMMARY_BYTES 4096

/* ---- Counting ---- */

static void count_slab(const struct span *slab, struct quarry_stats *stats, struct class_stats *class)
{
	size_t blocks = slab_block_count(slab);
	size_t live = ledger_count_live(slab->ledger, slab->first_index, blocks);
	size_t cached = min_size(ledger_count_cached(slab->ledger, slab->first_index, blocks), blocks - live);
	/* Not counted by itself: the sum holds even if blocks change between two counts. */
	size_t free_blocks = blocks - live - cached;

	class->slabs++;
	class->live += live;
	class->cached += cached;
	class->free += free_blocks;
	stats->slab_count++;
	stats->slab_bytes += slab->units * UNIT_BYTES;
	stats->slab_away_bytes += slab_away_bytes(slab);
	stats->live_blocks += live;
	stats->live_bytes += live * slab->block_bytes;
	stats->cached_bytes += cached * slab->block_bytes;
	stats->free_in_slab_bytes += free_blocks * slab->block_bytes;
}

static void count_large(const struct span *large, struct quarry_stats *stats)
{
	stats->large_span_bytes += large->units * UNIT_BYTES;
	/* Else its pages are just moving to another block, or it is about to go. */
	if (ledger_get(&large->large_state) != LEDGER_LIVE)
		return;
	stats->live_large_blocks++;
	stats->live_large_bytes += large->large_bytes;
	stats->live_blocks++;
	stats->live_bytes += large->large_bytes;
}

static void count_spans(struct quarry_stats *stats, struct class_stats classes[CLASS_COUNT])
{
	struct span_walk walk = span_walk_start();

	while (walk.region != NULL) {
		size_t budget = SPAN_WALK_BUDGET;
		struct span *span;

		lock_take(&space_lock);
		while ((span = span_walk_next(&walk, &budget)) != NULL) {
			if (span->kind == SPAN_LARGE) {
				count_large(span, stats);
				continue;
			}
			count_slab(span, stats, &classes[span->class_index]);
			span_walk_spend(&budget, slab_block_count(span));
		}
		lock_release(&space_lock);
	}
}

static void count_regions(struct quarry_stats *stats)
{
	lock_take(&space_lock);
	stats->region_count = region_count();
	for (size_t i = 0; i < stats->region_count; i++) {
		const struct region *region = region_at(i);
		/* The bits lie right before the page map and are committed whole. */
		size_t bits_bytes = (uintptr_t)region->page_map - (uintptr_t)region->dirty;
		stats->page_map_bytes += bits_bytes + region->page_map_bytes;
		stats->committed_bytes += atomic_load_explicit(&region->committed_bytes, memory_order_relaxed);
		stats->reserved_bytes += region->reserved_bytes;
	}
	stats->uncommitted_bytes = region_uncommitted_units() * UNIT_BYTES;
	stats->committed_bytes -= stats->uncommitted_bytes;
	stats->dirty_bytes = span_dirty_units() * UNIT_BYTES;
	stats->clean_bytes = span_clean_units() * UNIT_BYTES - stats->uncommitted_bytes;
	stats->metadata_bytes = meta_used_bytes();
	lock_release(&space_lock);
}

static void fill_residency(struct quarry_stats *stats, bool measure)
{
	struct residency there = residency_collect(measure);

	stats->resident_live_bytes = there.live;
	stats->resident_waste_bytes = there.waste;
	stats->resident_cached_bytes = there.cached;
	stats->resident_beside_bytes = there.free_beside_used;
	stats->resident_free_page_bytes = there.free_granules;
	stats->resident_span_bytes = there.free_spans;
	stats->resident_metadata_bytes = there.metadata;
	stats->resident_bytes = there.live + there.waste + there.cached + there.free_beside_used + there.free_granules +
	                        there.free_spans + there.metadata;
	stats->resident_measured = there.measured;
}

static void count_guarded(struct quarry_stats *stats)
{
	struct guarded_figures figures = guarded_figures();

	stats->guarded_blocks = figures.live_blocks;
	stats->guarded_bytes = figures.live_bytes;
	stats->live_blocks += figures.live_blocks;
	stats->live_bytes += figures.live_bytes;
	stats->guarded_page_bytes = figures.live_page_bytes;
	stats->guarded_freed_blocks = figures.slots.quarantined;
	stats->guarded_freed_bytes = figures.slots.quarantined_bytes;
	stats->guarded_table_bytes = figures.slots.table_bytes;
}

void stats_collect_classes(struct quarry_stats *stats, struct class_stats classes[CLASS_COUNT])
{
	*stats = (struct quarry_stats){ .struct_bytes = sizeof(*stats) };
	for (size_t i = 0; i < CLASS_COUNT; i++)
		classes[i] = (struct class_stats){ .size = size_classes[i].size };
	count_spans(stats, classes);
	count_regions(stats);

	struct pool_counts heaps = pool_counts();
	stats->heap_count = heaps.made;
	stats->heap_pooled_count = heaps.pooled;
	struct purge_figures purged = purge_figures();
	stats->purged_bytes = purged.purged_bytes;
	stats->purge_count = purged.purge_count;
	stats->longest_purge_ns = purged.longest_ns;
	stats->purge_step_count = purged.steps;
	stats->longest_step_ns = purged.longest_step_ns;
	stats->refaulted_span_bytes = span_taken_again_units() * UNIT_BYTES;
	stats->moved_bytes = large_moved_bytes();
	struct sweep_figures swept = sweep_figures();
	stats->refaulted_bytes = swept.refaulted_bytes;
	stats->sweep_count = swept.sweeps;
	stats->retained_max_bytes = purge_retained_max();
	stats->pressure_level = pressure_level();
	stats->pressure_looks = pressure_looks();
	count_guarded(stats);
}

void stats_collect(struct quarry_stats *stats, bool measure)
{
	struct class_stats classes[CLASS_COUNT];

	stats_collect_classes(stats, classes);
	fill_residency(stats, measure);
}

int stats_fill(struct quarry_stats *user, bool measure)
{
	size_t bytes = user->struct_bytes;
	struct quarry_stats stats;

	if (bytes == 0 || bytes > sizeof(stats))
		return -EINVAL;
	stats_collect(&stats, measure);
	stats.struct_bytes = bytes;
	memcpy(user, &stats, bytes);
	return 0;
}

/* ---- JSON ---- */

#define FIELD(name) { #name, offsetof(struct quarry_stats, name) }

/* Every field of struct quarry_stats after the first, in its order. */
static const struct {
	const char *name;
	size_t offset;
} fields[] = {
	FIELD(live_bytes),       FIELD(live_blocks),       FIELD(live_large_bytes),   FIELD(live_large_blocks),
	FIELD(cached_bytes),     FIELD(free_in_slab_bytes), FIELD(slab_bytes),        FIELD(slab_count),
	FIELD(large_span_bytes), FIELD(dirty_bytes),       FIELD(clean_bytes),        FIELD(metadata_bytes),
	FIELD(page_map_bytes),   FIELD(committed_bytes),   FIELD(reserved_bytes),     FIELD(region_count),
	FIELD(heap_count),       FIELD(heap_pooled_count), FIELD(purged_bytes),       FIELD(purge_count),
	FIELD(moved_bytes),      FIELD(slab_away_bytes),   FIELD(refaulted_bytes),    FIELD(sweep_count),
	FIELD(retained_max_bytes), FIELD(longest_purge_ns), FIELD(uncommitted_bytes),
	FIELD(purge_step_count), FIELD(longest_step_ns), FIELD(refaulted_span_bytes),
	FIELD(resident_bytes), FIELD(resident_live_bytes), FIELD(resident_waste_bytes),
	FIELD(resident_cached_bytes), FIELD(resident_beside_bytes), FIELD(resident_free_page_bytes),
	FIELD(resident_span_bytes), FIELD(resident_metadata_bytes), FIELD(resident_measured),
	FIELD(pressure_level),   FIELD(pressure_looks),
	FIELD(guarded_bytes),    FIELD(guarded_blocks),    FIELD(guarded_page_bytes), FIELD(guarded_freed_blocks),
	FIELD(guarded_freed_bytes), FIELD(guarded_table_bytes),
};

_Static_assert(sizeof(struct quarry_stats) ==
               offsetof(struct quarry_stats, live_bytes) + sizeof(fields) / sizeof(fields[0]) * sizeof(uint64_t),
               "no field is missing");

static void class_json(struct text *text, const struct class_stats *class, bool aligned)
{
	text_format(text, "{\"size\": %u, \"aligned\": %s, \"slabs\": %u, ", (uint64_t)class->size,
	            aligned ? "true" : "false", (uint64_t)class->slabs);
	text_format(text, "\"live\": %u, \"cached\": %u, \"free\": %u}", (uint64_t)class->live, (uint64_t)class->cached,
	            (uint64_t)class->free);
}

size_t stats_json(char *buffer, size_t capacity)
{
	struct text text = text_over(buffer, capacity);
	struct class_stats classes[CLASS_COUNT];
	struct quarry_stats stats;

	stats_collect_classes(&stats, classes);
	fill_residency(&stats, false);
	text_string(&text, "{\"version\": \"" QUARRY_VERSION "\"");
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		uint64_t value;
		memcpy(&value, (const char *)&stats + fields[i].offset, sizeof(value));
		text_format(&text, ", \"%s\": %u", fields[i].name, value);
	}
	text_string(&text, ", \"classes\": [");
	for (size_t i = 0; i < CLASS_COUNT; i++) {
		if (i > 0)
			text_string(&text, ", ");
		class_json(&text, &classes[i], i >= CLASS_FIRST_ALIGNED);
	}
	text_string(&text, "]}");
	return text.length;
}

/* ---- For people ---- */

void stats_print(void)
{
	static const char *const levels[] = { "no", "somewhat", "very" };
	char buffer[SUMMARY_BYTES];
	struct text text = text_over(buffer, sizeof(buffer));
	struct quarry_stats stats;

	stats_collect(&stats, false);
	text_string(&text, "quarry: statistics of version " QUARRY_VERSION "\n");
	text_format(&text, "quarry:   live             %z in %u blocks\n", stats.live_bytes, stats.live_blocks);
	text_format(&text, "quarry:     of it large    %z in %u blocks\n", stats.live_large_bytes,
	            stats.live_large_blocks);
	text_format(&text, "quarry:   cached           %z in threads' magazines\n", stats.cached_bytes);
	text_format(&text, "quarry:   free in slabs    %z\n", stats.free_in_slab_bytes);
	text_format(&text, "quarry:   slabs            %z in %u slabs\n", stats.slab_bytes, stats.slab_count);
	text_format(&text, "quarry:     not resident   %z\n", stats.slab_away_bytes);
	text_format(&text, "quarry:   large spans      %z\n", stats.large_span_bytes);
	text_format(&text, "quarry:   free and dirty   %z\n", stats.dirty_bytes);
	text_format(&text, "quarry:   free and clean   %z\n", stats.clean_bytes);
	text_format(&text, "quarry:   committed        %z\n", stats.committed_bytes);
	text_format(&text, "quarry:   uncommitted      %z that was\n", stats.uncommitted_bytes);
	text_format(&text, "quarry:   reserved         %z in %u regions\n", stats.reserved_bytes, stats.region_count);
	text_format(&text, "quarry:   metadata         %z, and %z of page maps\n", stats.metadata_bytes,
	            stats.page_map_bytes);
	text_format(&text, "quarry:   heaps            %u, of them %u waiting for a thread\n", stats.heap_count,
	            stats.heap_pooled_count);
	text_format(&text, "quarry:   may be retained  %z of free memory\n", stats.retained_max_bytes);
	text_format(&text, "quarry:   resident         %z, %s\n", stats.resident_bytes,
	            stats.resident_measured != 0 ? "measured" : "estimated");
	text_format(&text, "quarry:     live           %z\n", stats.resident_live_bytes);
	text_format(&text, "quarry:     waste          %z beside live blocks\n", stats.resident_waste_bytes);
	text_format(&text, "quarry:     cached         %z\n", stats.resident_cached_bytes);
	text_format(&text, "quarry:     free           %z in pages of slabs that hold others\n", stats.resident_beside_bytes);
	text_format(&text, "quarry:     free pages     %z in slabs\n", stats.resident_free_page_bytes);
	text_format(&text, "quarry:     free spans     %z\n", stats.resident_span_bytes);
	text_format(&text, "quarry:     metadata       %z\n", stats.resident_metadata_bytes);
	text_format(&text, "quarry:   memory is short  %s; %u looks found it so\n", levels[stats.pressure_level],
	            stats.pressure_looks);
	text_format(&text, "quarry:   given back       %z in %u calls and %u sweeps, the longest call %u ns\n",
	            stats.purged_bytes, stats.purge_count, stats.sweep_count, stats.longest_purge_ns);
	text_format(&text, "quarry:     in steps       %u, the longest %u ns\n", stats.purge_step_count, stats.longest_step_ns);
	text_format(&text, "quarry:   needed again     %z of it in slabs, %z in spans\n", stats.refaulted_bytes,
	            stats.refaulted_span_bytes);
	text_format(&text, "quarry:   moved            %z by realloc\n", stats.moved_bytes);
	if (guarded_on) {
		text_format(&text, "quarry:   guarded          %z in %u live blocks, on %z\n", stats.guarded_bytes,
		            stats.guarded_blocks, stats.guarded_page_bytes);
		text_format(&text, "quarry:     freed          %u blocks, %z of address space; known by %z\n",
		            stats.guarded_freed_blocks, stats.guarded_freed_bytes, stats.guarded_table_bytes);
	}
	text_write_error(&text);
}

/* glibc's figures: see info.h. */
#include "observe/info.h"

#include <limits.h>

#include "base/text.h"
#include "observe/stats.h"

/* The longest line, with five figures of 20 digits, is below 200 bytes. */
#define LINE_BYTES 512

/* Everything that both interfaces tell. */
struct figures {
	struct quarry_stats stats;
	struct class_stats classes[CLASS_COUNT];
	uint64_t cached_blocks;
	uint64_t free_blocks;           /* in slabs */
};

static void figures_collect(struct figures *figures)
{
	stats_collect_classes(&figures->stats, figures->classes);
	figures->cached_blocks = figures->free_blocks = 0;
	for (size_t i = 0; i < CLASS_COUNT; i++) {
		figures->cached_blocks += figures->classes[i].cached;
		figures->free_blocks += figures->classes[i].free;
	}
}

/* ---- mallinfo ---- */

struct mallinfo2 info_mallinfo2(void)
{
	struct figures figures;
	struct mallinfo2 info = { 0 };

	figures_collect(&figures);
	info.ordblks = figures.free_blocks;
	info.smblks = figures.cached_blocks;
	info.fsmblks = figures.stats.cached_bytes;
	info.uordblks = figures.stats.live_bytes;
	info.fordblks = figures.stats.cached_bytes + figures.stats.free_in_slab_bytes + figures.stats.dirty_bytes;
	info.keepcost = figures.stats.dirty_bytes;
	info.arena = info.uordblks + info.fordblks;
	return info;
}

static int saturated(size_t value)
{
	return value > INT_MAX ? INT_MAX : (int)value;
}

struct mallinfo info_mallinfo(void)
{
	struct mallinfo2 info = info_mallinfo2();

	return (struct mallinfo){
		.arena = saturated(info.arena),
		.ordblks = saturated(info.ordblks),
		.smblks = saturated(info.smblks),
		.hblks = saturated(info.hblks),
		.hblkhd = saturated(info.hblkhd),
		.usmblks = saturated(info.usmblks),
		.fsmblks = saturated(info.fsmblks),
		.uordblks = saturated(info.uordblks),
		.fordblks = saturated(info.fordblks),
		.keepcost = saturated(info.keepcost),
	};
}

/* ---- malloc_info ---- */

/* A stream that is locked, and whether all went well so far. */
struct document {
	FILE *stream;
	bool failed;
};

static void put(struct document *document, const char *line)
{
	/* After a failure nothing more, so that errno stays the first one's. */
	if (!document->failed)
		document->failed = fputs_unlocked(line, document->stream) == EOF;
}

static void put_total(struct document *document, const char *type, uint64_t count, uint64_t size)
{
	char buffer[LINE_BYTES];
	struct text line = text_over(buffer, sizeof(buffer));

	text_format(&line, "<total type=\"%s\" count=\"%u\" size=\"%u\"/>\n", type, count, size);
	put(document, buffer);
}

static void put_size(struct document *document, const char *element, const char *type, uint64_t size)
{
	char buffer[LINE_BYTES];
	struct text line = text_over(buffer, sizeof(buffer));

	text_format(&line, "<%s type=\"%s\" size=\"%u\"/>\n", element, type, size);
	put(document, buffer);
}

/* The free blocks of each class that has any. An aligned class serves one size only, whatever was asked for. */
static void put_classes(struct document *document, const struct figures *figures)
{
	put(document, "<sizes>\n");
	for (size_t i = 0; i < CLASS_COUNT; i++) {
		const struct class_stats *class = &figures->classes[i];
		char buffer[LINE_BYTES];
		struct text line = text_over(buffer, sizeof(buffer));
		uint64_t count = class->cached + class->free;
		uint64_t from = i >= CLASS_FIRST_ALIGNED ? class->size : i > 0 ? figures->classes[i - 1].size + 1 : 1;

		if (count == 0)
			continue;
		text_format(&line, "<size from=\"%u\" to=\"%u\" total=\"%u\" count=\"%u\"/>\n", from,
		            (uint64_t)class->size, count * class->size, count);
		put(document, buffer);
	}
	put(document, "</sizes>\n");
}

static void put_free(struct document *document, const struct figures *figures)
{
	put_total(document, "fast", figures->cached_blocks, figures->stats.cached_bytes);
	put_total(document, "rest", figures->free_blocks,
	          figures->stats.free_in_slab_bytes + figures->stats.dirty_bytes);
}

static void put_memory(struct document *document, const struct figures *figures)
{
	const struct quarry_stats *stats = &figures->stats;

	put_size(document, "system", "current",
	         stats->live_bytes - stats->live_large_bytes - stats->guarded_bytes + stats->cached_bytes + stats->free_in_slab_bytes +
	                 stats->dirty_bytes);
	put_size(document, "system", "max", stats->committed_bytes);
	put_size(document, "aspace", "total", stats->reserved_bytes);
	put_size(document, "aspace", "mprotect", stats->committed_bytes);
}

int info_write_xml(FILE *stream)
{
	struct document document = { .stream = stream };
	struct figures figures;

	figures_collect(&figures);
	flockfile(stream);
	put(&document, "<malloc version=\"1\">\n<heap nr=\"0\">\n");
	put_classes(&document, &figures);
	put_free(&document, &figures);
	put_memory(&document, &figures);
	put(&document, "</heap>\n");
	put_free(&document, &figures);
	put_total(&document, "mmap", figures.stats.live_large_blocks + figures.stats.guarded_blocks,
	          figures.stats.live_large_bytes + figures.stats.guarded_bytes);
	put_memory(&document, &figures);
	put(&document, "</malloc>\n");
	funlockfile(stream);
	return document.failed ? -1 : 0;
}

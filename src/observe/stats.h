/* Figures about the whole allocator, counted when asked: nothing is kept up to date for them on the way. Called by
 * src/api/ (quarry_stats, quarry_stats_json, malloc_stats, the option `stats`) and by info.c. No lock is held by the
 * caller; none of these allocates. */
#ifndef QUARRY_OBSERVE_STATS_H
#define QUARRY_OBSERVE_STATS_H

#include "block/sizeclass.h"
#include "quarry/quarry.h"

/* Blocks of one size class. live + cached + free is what its slabs hold. */
struct class_stats {
	size_t size;                    /* bytes of a block */
	size_t slabs;                   /* count, like those below */
	size_t live;
	size_t cached;                  /* free, in magazines */
	size_t free;
};

/* Fills every field, struct_bytes too; where resident memory is by the kernel's word (residency.h) or by estimate. Exact
 * when no other thread allocates meanwhile; else a block that changes while it is counted may be taken for its old state
 * or its new one. Takes space_lock in short steps. */
void stats_collect(struct quarry_stats *stats, bool measure);

/* Without where resident memory is, and with the table, indexed by size class. */
void stats_collect_classes(struct quarry_stats *stats, struct class_stats classes[CLASS_COUNT]);

/* quarry_stats, quarry_stats_measured: fills the first struct_bytes bytes of what the caller knows of the structure. 0,
 * or -EINVAL if struct_bytes is 0 or more than there is. */
int stats_fill(struct quarry_stats *user, bool measure);

/* quarry_stats_json: one object, without a line feed, of every field of struct quarry_stats under its name but
 * struct_bytes, and
 *   "version": "0.1.0"
 *   "classes": [{"size": 16, "aligned": false, "slabs": 1, "live": 2, "cached": 3, "free": 4}, ...]
 * with all classes in the table's order; aligned: a power of two kept for alignments. */
size_t stats_json(char *buffer, size_t capacity);

/* A summary of some 30 lines on standard error, by one write. */
void stats_print(void);

#endif

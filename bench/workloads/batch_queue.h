/* A bounded queue of batches of blocks, between the threads of prodcons.c and remote.c.
 *
 * Blocks travel in batches, so that the lock here doesn't hide the cost of the allocator. Two bounds: the bytes queued
 * never exceed bytes_most (the live set), and nothing is taken before take_from bytes are queued (so that the live set
 * doesn't depend on who is scheduled first) unless the producers are done.
 */
#ifndef QUARRY_BENCH_BATCH_QUEUE_H
#define QUARRY_BENCH_BATCH_QUEUE_H

#include "bench.h"
#include <pthread.h>

enum { BATCH_BLOCKS = 256 };

struct batch {
	uint64_t bytes;
	void *blocks[BATCH_BLOCKS];
};

/* Blocks of least .. most bytes, every cache line of them written. */
static inline void batch_fill(struct batch *batch, uint64_t least, uint64_t most, uint64_t *seed)
{
	batch->bytes = 0;
	for (int i = 0; i < BATCH_BLOCKS; i++) {
		uint64_t bytes = random_between(seed, least, most);
		char *block = block_new(bytes);
		for (uint64_t at = 64; at < bytes - 1; at += 64)
			block[at] = (char)i;
		batch->blocks[i] = block;
		batch->bytes += bytes;
	}
}

static inline void batch_free(struct batch *batch)
{
	for (int i = 0; i < BATCH_BLOCKS; i++)
		block_free(batch->blocks[i]);
}

struct queue {
	pthread_mutex_t lock;    /* protects all below */
	pthread_cond_t changed;
	struct batch *slots;     /* a circle; outside the allocator that is measured */
	uint64_t slot_count, head, length;
	uint64_t bytes;          /* queued now */
	uint64_t bytes_most, take_from;
	uint64_t producers_left; /* at 0 the queue is emptied without waiting */
};

static inline void queue_init(struct queue *queue, uint64_t bytes_most, uint64_t take_from, uint64_t batch_bytes,
			      uint64_t producers)
{
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->changed, NULL);
	queue->slot_count = 2 * bytes_most / batch_bytes + 4;
	queue->slots = table_new(queue->slot_count, sizeof *queue->slots);
	queue->bytes_most = bytes_most;
	queue->take_from = take_from;
	queue->producers_left = producers;
}

static inline int queue_is_full(const struct queue *queue, uint64_t more_bytes)
{
	return queue->length == queue->slot_count || (queue->length && queue->bytes + more_bytes > queue->bytes_most);
}

static inline void queue_put(struct queue *queue, const struct batch *batch)
{
	pthread_mutex_lock(&queue->lock);
	while (queue_is_full(queue, batch->bytes))
		pthread_cond_wait(&queue->changed, &queue->lock);
	queue->slots[(queue->head + queue->length++) % queue->slot_count] = *batch;
	queue->bytes += batch->bytes;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

/* 1, or 0 when the queue is empty and nothing will come. */
static inline int queue_take(struct queue *queue, struct batch *batch)
{
	pthread_mutex_lock(&queue->lock);
	while (queue->producers_left && queue->length < queue->slot_count &&
	       (!queue->length || queue->bytes < queue->take_from))
		pthread_cond_wait(&queue->changed, &queue->lock);
	int found = queue->length > 0;
	if (found) {
		*batch = queue->slots[queue->head];
		queue->head = (queue->head + 1) % queue->slot_count;
		queue->length--;
		queue->bytes -= batch->bytes;
		pthread_cond_broadcast(&queue->changed);
	}
	pthread_mutex_unlock(&queue->lock);
	return found;
}

/* A producer will put nothing more. */
static inline void queue_finish(struct queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->producers_left--;
	pthread_cond_broadcast(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

#endif

/* A thread's life with the allocator: see life.h. */
#include "thread/life.h"

#include <pthread.h>

#include "base/port.h"
#include "os/os.h"
#include "thread/pool.h"
#include "thread/scavenger.h"

/* A thread that has called this often gets a heap of its own. */
#define SHARED_CALLS_MAX 128

enum { CALLS_NO_MORE = UINT32_MAX };    /* it is exiting, or is just getting its heap */

/* Calls that the shared heap has served for this thread, frees too. The other 4 of less than 16 bytes of TLS. */
static _Thread_local uint32_t shared_calls __attribute__((tls_model("initial-exec")));

/* The thread that main runs in; asked for at the start, when no sandbox can object. 0: unknown. */
static _Atomic uintptr_t first_thread;

/* Another one has called, which it does without a heap at first. */
static _Atomic bool met_others;

/* Written before the second thread exists. */
static bool without_heaps;

static pthread_key_t heap_key;
static _Atomic bool heap_key_made;

static bool is_first(void)
{
	return port_thread_self() == atomic_load_explicit(&first_thread, memory_order_relaxed);
}

/* Runs in the thread that ends, with other libraries' destructors before and after: what they still do goes to the
 * shared heap. */
static void life_end(void *heap)
{
	shared_calls = CALLS_NO_MORE;
	thread_heap_distance = 0;
	pool_give(heap);
	scavenger_heap_given();
	if (is_first())
		scavenger_stop();
}

void life_init(void)
{
	if (os_is_first_thread())
		atomic_store_explicit(&first_thread, port_thread_self(), memory_order_relaxed);
	/* Without a key no thread's end is seen: then only the first thread has a heap of its own. */
	if (pthread_key_create(&heap_key, life_end) == 0)
		atomic_store_explicit(&heap_key_made, true, memory_order_release);
}

void life_without_heaps(void)
{
	without_heaps = true;
}

/* An ifunc resolver allocates before the loader copies the TLS image, which wipes the distance, but not the thread's
 * specific data: the heap is found again. */
static struct heap *heap_found_again(void)
{
	struct heap *heap = NULL;

	if (!atomic_load_explicit(&met_others, memory_order_relaxed) && !is_first())
		atomic_store_explicit(&met_others, true, memory_order_relaxed);
	if (atomic_load_explicit(&heap_key_made, memory_order_acquire) && shared_calls != CALLS_NO_MORE)
		heap = pthread_getspecific(heap_key);
	if (heap != NULL)
		thread_heap_distance = heap->distance;
	return heap;
}

static struct heap *heap_get(void)
{
	struct heap *heap = pool_take();

	if (heap == NULL)
		return NULL;
	/* pthread_setspecific may allocate (for a key above 31): from the shared heap. */
	shared_calls = CALLS_NO_MORE;
	if (!atomic_load_explicit(&heap_key_made, memory_order_acquire) || pthread_setspecific(heap_key, heap) != 0) {
		shared_calls = 0;
		pool_give(heap);
		return NULL;
	}
	shared_calls = 0;
	thread_heap_distance = heap->distance;
	scavenger_start_if_needed();
	return heap;
}

struct heap *life_heap_if_any(void)
{
	return thread_heap_distance != 0 ? heap_at(thread_heap_distance) : heap_found_again();
}

bool life_is_alone(void)
{
	return is_first() && !atomic_load_explicit(&met_others, memory_order_relaxed);
}

void life_fork_child(void)
{
	atomic_store_explicit(&met_others, false, memory_order_relaxed);
	atomic_store_explicit(&first_thread, port_thread_self(), memory_order_relaxed);
}

bool life_is_new(void)
{
	if (shared_calls >= SHARED_CALLS_MAX)
		return false;
	shared_calls++;
	return true;
}

struct heap *life_heap(void)
{
	struct heap *heap = life_heap_if_any();

	if (heap != NULL || shared_calls == CALLS_NO_MORE || without_heaps)
		return heap;
	/* The first thread's program is certain to allocate. */
	if (pool_counts().made > 0 && life_is_new())
		return NULL;
	return heap_get();
}

/* Calls that fail on purpose: see fault.h. */
#include "os/fault.h"

#ifdef QUARRY_DEBUG

#define MILLION 1000000u

/* Each word by itself: a call that comes while a fault is being set sees some of it, which tests that care avoid. */
static struct {
	_Atomic uint64_t skip;
	_Atomic uint64_t left;
	_Atomic uint32_t per_million;
	_Atomic int error;
	_Atomic uint64_t calls;
	_Atomic uint64_t failed;
} faults[OS_CALL_COUNT];

static _Atomic uint64_t chance;

/* Splitmix64 (Steele, Lea, Flood 2014), of a counter that all threads share. */
static uint32_t draw_million(void)
{
	uint64_t z = atomic_fetch_add_explicit(&chance, 0x9e3779b97f4a7c15u, memory_order_relaxed);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ z >> 31) % MILLION);
}

/* True if there was one to take. */
static bool take_one(_Atomic uint64_t *count)
{
	uint64_t left = atomic_load_explicit(count, memory_order_relaxed);

	while (left > 0)
		if (atomic_compare_exchange_weak_explicit(count, &left, left - 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

void os_fault_set(enum os_call call, struct os_fault fault)
{
	atomic_store(&faults[call].error, 0);
	atomic_store(&faults[call].skip, fault.skip);
	atomic_store(&faults[call].left, fault.count == 0 ? UINT64_MAX : fault.count);
	atomic_store(&faults[call].per_million, fault.per_million);
	atomic_store(&faults[call].error, fault.error);
}

void os_fault_reset(uint64_t seed)
{
	for (int call = 0; call < OS_CALL_COUNT; call++) {
		os_fault_set((enum os_call)call, (struct os_fault){ 0 });
		atomic_store(&faults[call].calls, 0);
		atomic_store(&faults[call].failed, 0);
	}
	atomic_store(&chance, seed);
}

uint64_t os_fault_calls(enum os_call call)
{
	return atomic_load(&faults[call].calls);
}

uint64_t os_fault_failed(enum os_call call)
{
	return atomic_load(&faults[call].failed);
}

int os_fault(enum os_call call)
{
	int error = atomic_load_explicit(&faults[call].error, memory_order_acquire);

	atomic_fetch_add_explicit(&faults[call].calls, 1, memory_order_relaxed);
	if (LIKELY(error == 0) || take_one(&faults[call].skip) ||
	    draw_million() >= atomic_load_explicit(&faults[call].per_million, memory_order_relaxed) ||
	    !take_one(&faults[call].left))
		return 0;
	atomic_fetch_add_explicit(&faults[call].failed, 1, memory_order_relaxed);
	return -error;
}

#endif

/* malloc and free of a block of a quick class with level 1, where the magazines serve them: included by secure.c for each width of
 * vectors with
 *
 *   QUICK(name)    the name of this width: the same or with _wide, as those of block/secure_zeros.h
 *   QUICK_TARGET   what functions need that use it
 */

/* Every call from here is its last act, so nothing is saved. A thread without a heap finds no choice in the empty one. */
static QUICK_TARGET NOINLINE void *QUICK(allocate_quick)(size_t size, enum guard_kind kind, const void *caller)
{
	struct heap *heap = heap_at(thread_heap_distance);
	struct chacha *random = &heap->secured.random;

	if (UNLIKELY(size > SECURE_QUICK_BYTES - CANARY_BYTES) || UNLIKELY(!secure.quick))
		return allocate_plain(size, kind, caller);
	unsigned class_index = size_class_magazine[(size + CANARY_BYTES - 1) >> GRANULE_LOG2] >> MAGAZINE_LOG2;
	if (UNLIKELY(!heap_has_choice(heap, class_index)))
		return allocate_plain(size, kind, caller);
	struct entry entry = heap_pick_quick(&heap->counted.stock[class_index], secure.quick_classes[class_index].choice,
	                                     random->bytes[--random->left]);
	size_t class_bytes = secure.quick_classes[class_index].bytes;
	if (LIKELY(ledger_get(entry.state) == LEDGER_CACHED) && UNLIKELY(!QUICK(secure_is_zero_quick)(entry.block, class_bytes)))
		return hand_out_written(entry, class_index, size, kind);
	begin_life(entry.state);
	((uint8_t *)entry.state)[secure.quick_classes[class_index].slack_at] = (uint8_t)(class_bytes - size);
	secure_set_canary(entry.block, size);
	return entry.block;
}

static QUICK_TARGET NOINLINE void QUICK(pass)(struct heap *heap, struct span *slab, void *block, ledger_byte *state)
{
	unsigned class_index = slab->class_index;
	uintptr_t ahead = FETCH_BLOCKS * (uintptr_t)slab->block_bytes;

	if ((uintptr_t)block - heap->secured.passed[class_index] + ahead < 2 * ahead) {
		__builtin_prefetch((char *)block + ahead, 1);
		__builtin_prefetch((char *)block - ahead, 1);
	}
	heap->secured.passed[class_index] = (uintptr_t)block;
	heap->bins[class_index].passes--;
	QUICK(secure_zero_quick)(block, slab->block_bytes);
	slab_return(slab, state);
}

/* As allocate_quick. The magazine last: up to then six registers hold what the long way needs. */
static QUICK_TARGET NOINLINE void QUICK(release_quick)(struct span *slab, void *block, ledger_byte *state, size_t said, size_t alignment, const char *call)
{
	unsigned class_index = slab->class_index;

	if (UNLIKELY(!end_own_life(state))) {
		report_bad_pointer(call, block);
		return;
	}
	if (UNLIKELY(class_index >= SECURE_QUICK_CLASSES) || UNLIKELY(!secure.quick) ||
	    UNLIKELY(!secure_canary_stands(block, slab->block_bytes - ((uint8_t *)state)[secure.quick_classes[class_index].slack_at]))) {
		release_own(slab, block, state, said, alignment, call);
		return;
	}
	struct heap *heap = heap_at(thread_heap_distance);
	struct magazine *stock = &heap->counted.stock[class_index];
	struct entry *top = stock->top;
	if (UNLIKELY(top == stock->limit)) {
		if (may_pass(&heap->bins[class_index], slab))
			QUICK(pass)(heap, slab, block, state);
		else
			release_own(slab, block, state, said, alignment, call);
		return;
	}
	QUICK(secure_zero_quick)(block, slab->block_bytes);
	end_life(state);
	top[1].block = block;
	top[1].state = state;
	stock->top = top + 1;
}

#undef QUICK
#undef QUICK_TARGET

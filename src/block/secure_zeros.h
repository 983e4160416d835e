/* Zeroing and verifying blocks, most of all those of quick classes, by vectors of so many bytes. Included by secure.h for each width with
 *
 *   ZEROS(name)         the name's form of this width
 *   ZEROS_TARGET        what functions need that use it
 *   ZEROS_BYTES         16 or 32
 *   ZEROS_NONE(vector)  whether no bit of a vector is set
 *
 * Without a branch up to 64 bytes, and from there up to 256: where sizes are mixed each would be predicted wrongly at every other
 * block. Pieces at fixed places and at places from the end, which overlap, cover all that is between. */

typedef uint64_t ZEROS(secure_vector) __attribute__((vector_size(ZEROS_BYTES), may_alias, aligned(16)));

ZEROS_TARGET ALWAYS_INLINE ZEROS(secure_vector) *ZEROS(secure_at)(const void *block, size_t offset)
{
	return (ZEROS(secure_vector) *)((uintptr_t)block + offset);
}

ZEROS_TARGET ALWAYS_INLINE void ZEROS(secure_zero_64)(void *block, size_t offset)
{
	for (size_t i = 0; i < 64; i += ZEROS_BYTES)
		*ZEROS(secure_at)(block, offset + i) = (ZEROS(secure_vector)){ 0 };
}

ZEROS_TARGET ALWAYS_INLINE ZEROS(secure_vector) ZEROS(secure_any_64)(const void *block, size_t offset)
{
	ZEROS(secure_vector) any = { 0 };

	for (size_t i = 0; i < 64; i += ZEROS_BYTES)
		any |= *ZEROS(secure_at)(block, offset + i);
	return any;
}

ZEROS_TARGET ALWAYS_INLINE void ZEROS(secure_zero_quick)(void *block, size_t class_bytes)
{
	if (class_bytes <= SECURE_SHORT_BYTES) {
		*secure_at(block, 0) = (secure_vector){ 0 };
		*secure_at(block, min_size(class_bytes - 16, 16)) = (secure_vector){ 0 };
		*secure_at(block, min_size(class_bytes - 16, 32)) = (secure_vector){ 0 };
		*secure_at(block, class_bytes - 16) = (secure_vector){ 0 };
		return;
	}
	if (class_bytes <= SECURE_MIDDLE_BYTES) {
		ZEROS(secure_zero_64)(block, 0);
		ZEROS(secure_zero_64)(block, min_size(class_bytes - 64, 64));
		ZEROS(secure_zero_64)(block, min_size(class_bytes - 64, 128));
		ZEROS(secure_zero_64)(block, class_bytes - 64);
		return;
	}
	size_t half = ROUND_UP(class_bytes / 2, 4 * ZEROS_BYTES);
	void *behind = (char *)block + class_bytes - half;
	for (size_t offset = 0; offset < half; offset += 64) {
		ZEROS(secure_zero_64)(block, offset);
		ZEROS(secure_zero_64)(behind, offset);
	}
}

ZEROS_TARGET ALWAYS_INLINE bool ZEROS(secure_is_zero_quick)(const void *block, size_t class_bytes)
{
	ZEROS(secure_vector) any = { 0 };

	if (class_bytes <= SECURE_SHORT_BYTES) {
		secure_vector few = (*secure_at(block, 0) | *secure_at(block, min_size(class_bytes - 16, 16))) |
		                    (*secure_at(block, min_size(class_bytes - 16, 32)) | *secure_at(block, class_bytes - 16));
		return (few[0] | few[1]) == 0;
	}
	if (class_bytes <= SECURE_MIDDLE_BYTES) {
		any = (ZEROS(secure_any_64)(block, 0) | ZEROS(secure_any_64)(block, min_size(class_bytes - 64, 64))) |
		      (ZEROS(secure_any_64)(block, min_size(class_bytes - 64, 128)) | ZEROS(secure_any_64)(block, class_bytes - 64));
		return ZEROS_NONE(any);
	}
	size_t half = ROUND_UP(class_bytes / 2, 4 * ZEROS_BYTES);
	const void *behind = (const char *)block + class_bytes - half;
	for (size_t offset = 0; offset < half; offset += 64)
		any |= ZEROS(secure_any_64)(block, offset) | ZEROS(secure_any_64)(behind, offset);
	return ZEROS_NONE(any);
}

/* bytes is a multiple of 16, and the block aligned to it. */
ZEROS_TARGET ALWAYS_INLINE bool ZEROS(secure_is_zero_long)(const void *block, size_t bytes)
{
	ZEROS(secure_vector) any = { 0 };
	size_t offset = 0;

	for (; bytes - offset >= 256; offset += 256) {
		any = (ZEROS(secure_any_64)(block, offset) | ZEROS(secure_any_64)(block, offset + 64)) |
		      (ZEROS(secure_any_64)(block, offset + 128) | ZEROS(secure_any_64)(block, offset + 192));
		if (UNLIKELY(!ZEROS_NONE(any)))
			return false;
	}
	secure_vector few = { 0 };
	for (; offset < bytes; offset += 16)
		few |= *secure_at(block, offset);
	return (few[0] | few[1]) == 0;
}

#undef ZEROS
#undef ZEROS_TARGET
#undef ZEROS_BYTES
#undef ZEROS_NONE

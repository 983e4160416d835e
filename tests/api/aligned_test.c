/* The aligned forms: every alignment with many sizes, and what is refused how. */
#include "model/support.h"

#include <errno.h>

#include "os/os.h"
#include "quarry/quarry.h"

static void use(void *block, size_t alignment, size_t size)
{
	assert_non_null(block);
	assert_true(IS_ALIGNED((uintptr_t)block, alignment));
	assert_true(quarry_usable_size(block) >= size);
	memset(block, 0xbb, quarry_usable_size(block));
	quarry_free(block);
}

static void test_every_alignment(void **state UNUSED)
{
	static const size_t sizes[] = { 0, 1, 8, 16, 17, 63, 64, 65, 128, 1000, 1024, 1025, 4096, 4097, 16384, 16385, 32832,
		                        32833, 65536, 100000, 1000000 };

	for (size_t alignment = 1; alignment <= 16 * MIB; alignment *= 2)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			void *kept[3], *block = NULL;
			for (size_t k = 0; k < 3; k++)
				kept[k] = quarry_memalign(alignment, sizes[i]);
			use(quarry_aligned_alloc(alignment, sizes[i]), alignment, sizes[i]);
			int error = quarry_posix_memalign(&block, alignment, sizes[i]);
			assert_int_equal(error, alignment < sizeof(void *) ? EINVAL : 0);
			if (error == 0)
				use(block, alignment, sizes[i]);
			for (size_t k = 0; k < 3; k++)
				use(kept[k], alignment, sizes[i]);
		}
}

/* As glibc 2.36: rounded up to the next power of two. */
static void test_odd_alignments(void **state UNUSED)
{
	for (size_t alignment = 0; alignment < 3000; alignment += 1 + alignment / 40) {
		use(quarry_memalign(alignment, 100), alignment <= 1 ? 1 : power_of_two_ceil(alignment), 100);
		use(quarry_aligned_alloc(alignment, 40000), alignment <= 1 ? 1 : power_of_two_ceil(alignment), 40000);
	}
}

static void test_refused(void **state UNUSED)
{
	int here = 0;
	void *block = &here;
	static const size_t bad[] = { 0, 1, 2, 4, 7, 9, 12, 24, 48, 1000, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 7 };

	errno = 4711;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(quarry_posix_memalign(&block, bad[i], 16), EINVAL);
	assert_int_equal(quarry_posix_memalign(&block, 64, SIZE_MAX), ENOMEM);
	assert_int_equal(quarry_posix_memalign(&block, (size_t)1 << 62, 1), ENOMEM);
	assert_ptr_equal(block, &here);
	assert_int_equal(errno, 4711);

	errno = 0;
	assert_null(quarry_memalign(hide(SIZE_MAX / 2 + 2), 1));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(quarry_aligned_alloc(hide(SIZE_MAX), 1));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(quarry_memalign(hide(SIZE_MAX / 2 + 1), 1));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(quarry_aligned_alloc(64, hide(SIZE_MAX - 64)));
	assert_int_equal(errno, ENOMEM);
}

static void test_pages(void **state UNUSED)
{
	size_t page = os_page_bytes();

	for (size_t size = 0; size < 5 * page; size += 97) {
		use(quarry_valloc(size), page, size);
		void *block = quarry_pvalloc(size);
		assert_true(quarry_usable_size(block) >= ROUND_UP(size, page));
		use(block, page, size);
	}
	errno = 0;
	assert_null(quarry_pvalloc(hide(SIZE_MAX)));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(quarry_pvalloc(hide(SIZE_MAX - page + 1)));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(quarry_valloc(hide(SIZE_MAX)));
	assert_int_equal(errno, ENOMEM);
}

static void test_zeroed(void **state UNUSED)
{
	static const size_t sizes[] = { 0, 1, 16, 100, 1000, 5000, 30000, 40000, 300000, 2000000 };

	for (size_t round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			unsigned char *blocks[8];
			for (size_t k = 0; k < 8; k++) {
				blocks[k] = k % 2 == 0 ? quarry_calloc(sizes[i], 1) : quarry_calloc(1, sizes[i]);
				assert_non_null(blocks[k]);
				for (size_t at = 0; at < sizes[i]; at++)
					if (blocks[k][at] != 0)
						fail_msg("byte %zu of %zu is %#x", at, sizes[i], blocks[k][at]);
				memset(blocks[k], 0xee, quarry_usable_size(blocks[k]));
			}
			for (size_t k = 0; k < 8; k++)
				quarry_free(blocks[k]);
		}
	errno = 0;
	assert_null(quarry_calloc(hide(SIZE_MAX / 2), 3));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(quarry_calloc(hide((size_t)1 << 32), hide((size_t)1 << 32)));
	assert_int_equal(errno, ENOMEM);
	use(quarry_calloc(0, hide(SIZE_MAX)), 16, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_alignment),
		cmocka_unit_test(test_odd_alignments),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_zeroed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

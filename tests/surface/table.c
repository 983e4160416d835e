/* What the C library's malloc functions answer, one case a line. Run without and with Quarry; the lines must be equal.
 * Only what a program may rely on is printed: no addresses, no usable sizes. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define UNTOUCHED 4242

static const char *error_name(int error)
{
	return error == 0 ? "0" : error == UNTOUCHED ? "untouched" : error == ENOMEM ? "ENOMEM" : error == EINVAL ? "EINVAL" : "another";
}

/* A call and what it left in errno. POSIX doesn't say what posix_memalign does to it: glibc sets it at times. */
#define POINTER(call) \
	do { \
		errno = UNTOUCHED; \
		void *pointer_ = (call); \
		int error_ = errno; \
		printf("%s: %s, errno %s\n", #call, pointer_ != NULL ? "block" : "NULL", error_name(error_)); \
		free(pointer_); \
	} while (0)

#define NUMBER(call) \
	do { \
		errno = UNTOUCHED; \
		long number_ = (long)(call); \
		int error_ = errno; \
		printf("%s: %ld, errno %s\n", #call, number_, error_name(error_)); \
	} while (0)

#define RESULT(call) printf("%s: %d\n", #call, (call))

#define HUGE ((size_t)PTRDIFF_MAX + 1)

static void *volatile keep;             /* what the compiler must not see through */
static const size_t zero;

static void zero_sizes(void)
{
	void *a = malloc(zero), *b = malloc(zero), *c = calloc(zero, 5), *d = calloc(5, zero);

	printf("malloc(0): %s, unique: %d\n", a != NULL ? "block" : "NULL", a != b && a != c && a != d && b != c && c != d);
	free(a);
	free(b);
	free(c);
	free(d);
	POINTER(calloc(zero, zero));
	POINTER(memalign(64, zero));
	POINTER(aligned_alloc(64, zero));
	POINTER(valloc(zero));
	POINTER(pvalloc(zero));
	POINTER(valloc(1));
	POINTER(pvalloc(1));
	POINTER(realloc(NULL, zero));
	POINTER(realloc(NULL, 100));
	POINTER(realloc(malloc(100), zero));
	POINTER(realloc(malloc(1000000), zero));
	POINTER(reallocarray(NULL, zero, 10));
	POINTER(reallocarray(malloc(10), 10, zero));
	POINTER(reallocarray(malloc(10), zero, SIZE_MAX));
	NUMBER(malloc_usable_size(NULL));
}

static void failures(void)
{
	static const size_t sizes[] = { HUGE - 1, HUGE, HUGE + 1, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX - 1, SIZE_MAX };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t size = sizes[i];
		printf("size %zu:\n", size);
		POINTER(malloc(size));
		POINTER(calloc(1, size));
		POINTER(calloc(size, 1));
		POINTER(calloc(size, size));
		POINTER(calloc(size / 2 + 1, 2));
		POINTER(realloc(NULL, size));
		POINTER(reallocarray(NULL, size, 1));
		POINTER(reallocarray(NULL, size, 2));
		POINTER(reallocarray(NULL, 2, size));
		POINTER(memalign(16, size));
		POINTER(memalign(64, size));
		POINTER(memalign(4096, size));
		POINTER(aligned_alloc(1 << 20, size));
		POINTER(valloc(size));
		POINTER(pvalloc(size));
	}
	POINTER(calloc((size_t)1 << 32, (size_t)1 << 32));
	POINTER(calloc(((size_t)1 << 32) + 1, (size_t)1 << 32));
	POINTER(reallocarray(NULL, (size_t)1 << 33, (size_t)1 << 33));
	POINTER(reallocarray(NULL, SIZE_MAX / 8 + 2, 8));

	/* What can't be resized stays what it was. */
	char *block = malloc(100);
	strcpy(block, "kept");
	NUMBER(realloc(block, HUGE) != NULL);
	NUMBER(reallocarray(block, SIZE_MAX, 2) != NULL);
	printf("after the failures: %s\n", block);
	free(block);
	block = malloc(1000000);
	strcpy(block, "kept too");
	NUMBER(realloc(block, HUGE) != NULL);
	NUMBER(realloc(block, SIZE_MAX) != NULL);
	printf("after the failures: %s\n", block);
	free(block);
}

static void alignments(void)
{
	static const size_t values[] = { 0, 1, 2, 3, 4, 7, 8, 12, 16, 17, 24, 32, 48, 64, 100, 128, 4096, 4097, 65536, 1 << 21,
	                                 (size_t)1 << 62, ((size_t)1 << 62) + 1, (size_t)1 << 63, ((size_t)1 << 63) + 1,
	                                 SIZE_MAX - 1, SIZE_MAX };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		size_t alignment = values[i];
		for (size_t size = 1; size <= 1000000; size *= 1000) {
			printf("alignment %zu, size %zu:\n", alignment, size);
			POINTER(memalign(alignment, size));
			POINTER(aligned_alloc(alignment, size));
			void *block = &block;
			RESULT(posix_memalign(&block, alignment, size));
			bool untouched = block == (void *)&block;
			printf("posix_memalign's block: %s\n", untouched ? "untouched" : block == NULL ? "NULL" : "block");
			if (!untouched) {
				printf("aligned: %d\n", alignment == 0 || (uintptr_t)block % alignment == 0);
				free(block);
			}
			size_t power = 16;
			while (power < alignment && power < (size_t)1 << 40)
				power *= 2;
			block = memalign(alignment, size);
			if (block != NULL)
				printf("memalign is aligned: %d\n", (uintptr_t)block % power == 0);
			free(block);
		}
		void *block = &block;
		RESULT(posix_memalign(&block, alignment, SIZE_MAX));
		RESULT(posix_memalign(&block, alignment, HUGE));
		POINTER(memalign(alignment, HUGE));
	}
}

static bool aligned_16(void *block) { return (uintptr_t)block % 16 == 0; }

static void always_aligned(void)
{
	size_t wrong = 0;

	for (size_t size = 0; size < 40000; size += size < 300 ? 1 : 37) {
		void *a = malloc(size), *b = calloc(1, size), *c = realloc(malloc(size / 2), size + 1), *d = memalign(1, size);
		wrong += !aligned_16(a) + !aligned_16(b) + !aligned_16(c) + !aligned_16(d);
		free(a);
		free(b);
		free(c);
		free(d);
	}
	printf("blocks that are not aligned to 16: %zu\n", wrong);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *a = valloc(1), *b = pvalloc(1), *c = valloc(100000), *d = pvalloc(100000);
	printf("valloc and pvalloc are aligned to pages: %d\n",
	       ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d) % page == 0);
	printf("pvalloc gives whole pages: %d\n", malloc_usable_size(b) >= page && malloc_usable_size(d) >= 25 * page);
	free(a);
	free(b);
	free(c);
	free(d);
}

/* Success leaves errno alone; free always does. */
static void errno_kept(void)
{
	static void *blocks[100];
	size_t changed = 0;

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 100; i++) {
			errno = UNTOUCHED;
			blocks[i] = i % 4 == 0 ? malloc(i * i * 100) : i % 4 == 1 ? calloc(i, i * 50)
			          : i % 4 == 2 ? realloc(malloc(i * 10), i * 10000) : memalign(64 << i % 8, i * 300);
			changed += errno != UNTOUCHED;
		}
		for (size_t i = 0; i < 100; i++) {
			errno = UNTOUCHED;
			free(blocks[i]);
			changed += errno != UNTOUCHED;
		}
	}
	errno = UNTOUCHED;
	free(NULL);
	changed += errno != UNTOUCHED;
	malloc_usable_size(keep = malloc(10));
	changed += errno != UNTOUCHED;
	free(keep);
	printf("calls that changed errno without need: %zu\n", changed);
}

/* All usable bytes may be written, and realloc keeps them. */
static void usable_bytes(void)
{
	size_t too_few = 0, lost = 0, not_zero = 0;

	for (size_t size = 0; size < 3000000; size += size < 2000 ? 7 : size / 3) {
		unsigned char *block = malloc(size);
		size_t usable = malloc_usable_size(block);
		too_few += usable < size;
		memset(block, 0xa5, usable);
		size_t larger = usable * 2 + 100;
		block = realloc(block, larger);
		for (size_t i = 0; i < usable; i++)
			lost += block[i] != 0xa5;
		memset(block, 0x5a, malloc_usable_size(block));
		block = realloc(block, size / 2 + 1);
		for (size_t i = 0; i < size / 2 + 1; i++)
			lost += block[i] != 0x5a;
		free(block);
		block = calloc(1, size);
		for (size_t i = 0; i < size; i++)
			not_zero += block[i] != 0;
		free(block);
	}
	printf("too few usable bytes: %zu, bytes lost by realloc: %zu, calloc's that are not 0: %zu\n", too_few, lost, not_zero);
}

static void parameters(void)
{
	NUMBER(mallopt(M_TRIM_THRESHOLD, 64 << 20));
	NUMBER(mallopt(M_TRIM_THRESHOLD, -1));
	NUMBER(mallopt(M_TOP_PAD, 65536));
	NUMBER(mallopt(M_MMAP_THRESHOLD, 1 << 20));
	NUMBER(mallopt(M_MMAP_THRESHOLD, 1 << 30));
	NUMBER(mallopt(M_MMAP_MAX, 0));
	NUMBER(mallopt(M_MXFAST, 64));
	NUMBER(mallopt(M_MXFAST, 0));
	NUMBER(mallopt(M_MXFAST, 100000));
	NUMBER(mallopt(M_MXFAST, 160));
	NUMBER(mallopt(M_MXFAST, 161));
	NUMBER(mallopt(M_MXFAST, -1));
	NUMBER(mallopt(4711, 3));
	NUMBER(mallopt(M_CHECK_ACTION, 3));
	NUMBER(mallopt(M_PERTURB, 0));
	NUMBER(mallopt(M_ARENA_TEST, 2));
	NUMBER(mallopt(M_ARENA_TEST, 0));
	NUMBER(mallopt(M_ARENA_MAX, 1));
	FILE *nowhere = fopen("/dev/null", "w");
	NUMBER(malloc_info(1, nowhere));
	NUMBER(malloc_info(-1, nowhere));
	NUMBER(malloc_info(0, nowhere));
	fclose(nowhere);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	zero_sizes();
	failures();
	alignments();
	always_aligned();
	errno_kept();
	usable_bytes();
	parameters();
	return 0;
}

// C++'s forms, one mistake per row: `forms ROW`. What each row's report must say stands in bugs.sh.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#define NAMED extern "C" __attribute__((noinline, noclone, externally_visible))
#define KEEP_FRAME() __asm__ volatile("" ::: "memory")

struct base {
	~base() {}                      // not virtual: its delete says base's size
	int number = 1;
};
struct derived : base {
	char more[96];
};
struct alignas(64) wide {
	char bytes[64];
};

// The compiler neither joins what is made with what is deleted, nor warns of it.
template <typename T> static T *hide(void *block)
{
	__asm__("" : "+r"(block));
	return static_cast<T *>(block);
}

NAMED void *make_new() { void *made = new int[1]; ::operator delete[](made); made = new int; KEEP_FRAME(); return made; }
NAMED void *make_array() { void *made = new int[25]; KEEP_FRAME(); return made; }
NAMED void *make_derived() { void *made = new derived; KEEP_FRAME(); return made; }
NAMED void *make_wide() { void *made = new wide; KEEP_FRAME(); return made; }
NAMED void *make_malloc() { void *made = std::malloc(100); KEEP_FRAME(); return made; }

NAMED void drop_free(void *block) { std::free(block); KEEP_FRAME(); }
NAMED void drop_delete(void *block) { ::operator delete(block); KEEP_FRAME(); }
NAMED void drop_array(void *block) { ::operator delete[](block); KEEP_FRAME(); }
NAMED void drop_sized(void *block, std::size_t size) { ::operator delete(block, size); KEEP_FRAME(); }
NAMED void drop_aligned(void *block, std::size_t alignment)
{
	::operator delete(block, std::align_val_t(alignment));
	KEEP_FRAME();
}
NAMED void drop_base(base *object) { delete object; KEEP_FRAME(); }
NAMED void *grow(void *block) { block = std::realloc(block, 200); KEEP_FRAME(); return block; }
NAMED int read_int(const int *at) { int value = *const_cast<const volatile int *>(at); KEEP_FRAME(); return value; }

static const struct {
	const char *name;
	void (*body)();
} rows[] = {
	{ "good", [] { drop_delete(make_new()); drop_array(make_array()); drop_aligned(make_wide(), 64); drop_free(make_malloc()); } },
	{ "new_free", [] { drop_free(make_new()); } },
	{ "new_realloc", [] { grow(make_new()); } },
	{ "array_free", [] { drop_free(make_array()); } },
	{ "array_delete", [] { drop_delete(make_array()); } },
	{ "new_delete_array", [] { drop_array(make_new()); } },
	{ "malloc_delete", [] { drop_delete(make_malloc()); } },
	{ "malloc_delete_array", [] { drop_array(make_malloc()); } },
	{ "aligned_free", [] { drop_free(make_wide()); } },
	{ "wrong_size", [] { drop_sized(make_derived(), 50); } },
	{ "wrong_size_base", [] { drop_base(hide<base>(make_derived())); } },
	{ "alignment_unsaid", [] { drop_delete(make_wide()); } },
	{ "wrong_alignment", [] { drop_aligned(make_wide(), 128); } },
	{ "double_delete", [] { void *made = make_new(); drop_delete(made); drop_delete(made); } },
	{ "iterator",
	  [] {
		  std::vector<int> numbers(25, 1);
		  const int *first = &numbers[0];
		  numbers.reserve(100);
		  read_int(first + 5);
	  } },
	{ "index",
	  [] {
		  std::unique_ptr<int[]> numbers(new int[25]);
		  read_int(hide<int>(numbers.get()) + 28);
	  } },
};

int main(int argc, char **argv)
{
	for (const auto &row : rows) {
		if (argc < 2)
			std::puts(row.name);
		else if (std::strcmp(row.name, argv[1]) == 0)
			return row.body(), 0;
	}
	return argc < 2 ? 0 : 2;
}

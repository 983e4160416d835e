// Each form of new with its delete: no word of guard mode. -DOWN_NEW: with an operator new of its own, on malloc.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#ifdef OWN_NEW
void *operator new(std::size_t size)
{
	return std::malloc(size);
}
void operator delete(void *block) noexcept
{
	std::free(block);
}
#endif

struct base {
	virtual ~base() {}
	int value;
};
struct derived : base {
	char more[100];
};
struct alignas(64) wide {
	char bytes[100];
	~wide() { bytes[0] = 1; }
};
struct with_destructor {
	std::string text = "a text that is longer than what a string holds in itself";
};

/* The compiler may leave out what it sees through. */
static void *hide(void *block)
{
	__asm__("" : "+r"(block));
	return block;
}

int main(int argc, char **argv)
{
	for (int i = 0; i < 100; i++) {
		base *one = new derived;
		delete one;
		delete[] new with_destructor[i];
		delete new wide;
		delete[] new wide[i];
		delete new (std::nothrow) int;
		delete[] new (std::nothrow) char[i];
		::operator delete(::operator new(i));
		::operator delete(::operator new(i), static_cast<std::size_t>(i));
		::operator delete[](::operator new[](i), static_cast<std::size_t>(i));
		::operator delete(::operator new(i, std::align_val_t(128)), std::align_val_t(128));
		::operator delete(::operator new(i, std::align_val_t(16)), std::align_val_t(16));
		::operator delete(::operator new(i, std::align_val_t(128)), static_cast<std::size_t>(i), std::align_val_t(128));
	}
	std::map<std::string, std::vector<int>> map;
	for (int i = 0; i < 1000; i++)
		map[std::to_string(i)].push_back(i);
	auto shared = std::make_shared<derived>();
	try {
		throw std::string("thrown");
	} catch (const std::string &) {
	}
	if (argc > 1 && *argv[1] == 'f')
		std::free(hide(new int));
	if (argc > 1 && *argv[1] == 'd')
		delete static_cast<int *>(hide(std::malloc(4)));
	if (argc > 1 && *argv[1] == 'a')
		delete static_cast<int *>(hide(new int[10]));
	if (argc > 1 && *argv[1] == 's')
		::operator delete(hide(new derived), sizeof(base));
	std::puts("good");
}

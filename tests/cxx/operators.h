/* All forms of C++'s new and delete, and what they do when memory runs out: for a program (operators.cc) and for a
 * library that a C program opens (library.cc). Each check prints one line of TAP. */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "quarry/quarry.h"

namespace {

using describe_function = quarry_description (*)(const void *);

int count;

void check(bool good, const char *name)
{
	std::printf("%sok %d - %s\n", good ? "" : "not ", ++count, name);
}

const std::align_val_t wide{ 4096 };
volatile std::size_t huge = static_cast<std::size_t>(PTRDIFF_MAX) - 100000;
volatile std::size_t beyond = static_cast<std::size_t>(1) << 47;        /* all of the address space */

int handler_calls;
void *reserve;

void handler_gives_up()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

void handler_throws()
{
	handler_calls++;
	throw std::bad_alloc();
}

struct other {};

void handler_throws_other()
{
	handler_calls++;
	throw other();
}

/* What a real one does: there is a reserve for hard times. */
void handler_frees()
{
	handler_calls++;
	operator delete(reserve);
	reserve = nullptr;
}

template <typename Function> bool throws_bad_alloc(Function function)
{
	try {
		function();
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

std::size_t destructed;

struct object {
	long values[5];
	object() { values[0] = 1; }
	~object() { destructed++; }
};

struct alignas(256) wide_object {
	char bytes[256];
};

bool aligned(const void *block, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(block) % alignment == 0; }

void check_forms(describe_function describe)
{
	void *block;
	auto ours = [&] { return describe(block).kind == QUARRY_LIVE && describe(block).block == block; };
	auto gone = [&] { return describe(block).kind != QUARRY_LIVE; };

#define FORM(allocate, release, alignment) \
	do { \
		block = allocate; \
		check(block != nullptr && ours() && aligned(block, alignment), #allocate); \
		release; \
		check(gone(), #release); \
	} while (0)
	FORM(operator new(100), operator delete(block), 16);
	FORM(operator new(100), operator delete(block, static_cast<std::size_t>(100)), 16);
	FORM(operator new(0), operator delete(block), 16);
	FORM(operator new[](100000), operator delete[](block), 16);
	FORM(operator new[](100000), operator delete[](block, static_cast<std::size_t>(100000)), 16);
	FORM(operator new(100, std::nothrow), operator delete(block, std::nothrow), 16);
	FORM(operator new[](100, std::nothrow), operator delete[](block, std::nothrow), 16);
	FORM(operator new(100, wide), operator delete(block, wide), 4096);
	FORM(operator new(100, wide), operator delete(block, static_cast<std::size_t>(100), wide), 4096);
	FORM(operator new[](100, wide), operator delete[](block, wide), 4096);
	FORM(operator new[](100, wide), operator delete[](block, static_cast<std::size_t>(100), wide), 4096);
	FORM(operator new(100, wide, std::nothrow), operator delete(block, wide, std::nothrow), 4096);
	FORM(operator new[](100, wide, std::nothrow), operator delete[](block, wide, std::nothrow), 4096);
	operator delete(nullptr);

	object *one = new object, *many = new object[100];
	block = one;
	check(ours() && one->values[0] == 1, "new of a class");
	wide_object *wide_one = new wide_object;
	check(aligned(wide_one, 256), "new of a class with an alignment");
	delete one;
	delete[] many;
	delete wide_one;
	check(destructed == 101, "all destructors ran");
}

void check_failures()
{
	void *volatile block = nullptr;

	std::set_new_handler(nullptr);
	check(throws_bad_alloc([&] { block = operator new(huge); }), "new throws bad_alloc");
	check(throws_bad_alloc([&] { block = operator new(beyond); }), "new throws bad_alloc when there is no room");
	check(throws_bad_alloc([&] { block = operator new[](huge); }), "new[] throws bad_alloc");
	check(throws_bad_alloc([&] { block = operator new(huge, wide); }), "aligned new throws bad_alloc");
	check(throws_bad_alloc([&] { block = operator new[](huge, wide); }), "aligned new[] throws bad_alloc");
	check(throws_bad_alloc([&] { block = new object[huge / sizeof(object)]; }), "new of an array throws bad_alloc");
	check(operator new(huge, std::nothrow) == nullptr, "nothrow new gives nullptr");
	check(operator new[](huge, std::nothrow) == nullptr, "nothrow new[] gives nullptr");
	check(operator new(huge, wide, std::nothrow) == nullptr, "nothrow aligned new gives nullptr");
	check(operator new[](huge, wide, std::nothrow) == nullptr, "nothrow aligned new[] gives nullptr");

	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	check(throws_bad_alloc([&] { block = operator new(huge); }) && handler_calls == 3,
	      "the new_handler is called until there is none");
	handler_calls = 0;
	std::set_new_handler(handler_gives_up);
	check(operator new(huge, std::nothrow) == nullptr && handler_calls == 3, "by nothrow new, too");

	handler_calls = 0;
	std::set_new_handler(handler_throws);
	check(throws_bad_alloc([&] { block = operator new(huge); }) && handler_calls == 1, "a handler may throw");
	check(throws_bad_alloc([&] { block = operator new[](huge, wide); }) && handler_calls == 2, "by aligned new[], too");
	check(operator new(huge, std::nothrow) == nullptr && handler_calls == 3, "nothrow new: nullptr when the handler throws");
	check(operator new[](huge, std::nothrow) == nullptr && handler_calls == 4, "nothrow new[], too");
	check(operator new(huge, wide, std::nothrow) == nullptr && handler_calls == 5, "nothrow aligned new, too");
	check(operator new[](huge, wide, std::nothrow) == nullptr && handler_calls == 6, "nothrow aligned new[], too");

	std::set_new_handler(handler_throws_other);
	bool caught = false;
	try {
		block = operator new(huge);
	} catch (const other &) {
		caught = true;
	}
	check(caught, "an exception of the handler's own passes through");

	std::set_new_handler(nullptr);
}

/* Memory that runs out for real, under the limit that operators.sh has set: two blocks of this size don't fit. */
void check_retry(std::size_t bytes)
{
	void *volatile block;

#define RETRY(allocate, release) \
	do { \
		std::set_new_handler(nullptr); \
		reserve = operator new(bytes); \
		handler_calls = 0; \
		std::set_new_handler(handler_frees); \
		block = allocate; \
		check(block != nullptr && handler_calls == 1 && reserve == nullptr, \
		      #allocate ": a handler frees a reserve, and it succeeds"); \
		operator delete(reserve); \
		release; \
	} while (0)
	RETRY(operator new(bytes), operator delete(block));
	RETRY(operator new[](bytes), operator delete[](block));
	RETRY(operator new(bytes, std::nothrow), operator delete(block));
	RETRY(operator new(bytes, wide), operator delete(block, wide));
	RETRY(operator new(bytes, wide, std::nothrow), operator delete(block, wide));
}

void check_all(describe_function describe, bool limited)
{
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	if (limited) {
		check_retry(static_cast<std::size_t>(600) << 20);
	} else {
		check_forms(describe);
		check_failures();
	}
	std::printf("1..%d\n", count);
}

}

/* operators.h as a program. */
#include "operators.h"

#include <dlfcn.h>

int main(int argc, char **)
{
#ifdef LINKED
	describe_function describe = quarry_describe;
#else
	describe_function describe = reinterpret_cast<describe_function>(dlsym(RTLD_DEFAULT, "quarry_describe"));
#endif
	check_all(describe, argc > 1);
}

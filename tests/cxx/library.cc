/* operators.h as a library that open.c opens with RTLD_LOCAL: the C++ runtime is not in the global scope. */
#include "operators.h"

#include <dlfcn.h>

extern "C" void run(int limited)
{
	check_all(reinterpret_cast<describe_function>(dlsym(RTLD_DEFAULT, "quarry_describe")), limited != 0);
}

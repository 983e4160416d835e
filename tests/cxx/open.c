/* A C program that opens a C++ library and doesn't let others see it. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	void (*run)(int) = library != NULL ? (void (*)(int))dlsym(library, "run") : NULL;

	if (run == NULL || dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv") != NULL) {
		printf("%s\n", run == NULL ? dlerror() : "the C++ runtime is in the global scope");
		return 1;
	}
	run(argc > 2);
	return 0;
}

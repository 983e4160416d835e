/* C++'s operator new and delete, from C: no libstdc++ is linked; the one that the program uses is found when an
 * allocation fails. In libquarry.a an object of its own, which only C++ programs take. Compiled with -fexceptions: a
 * new_handler, and std::bad_alloc, pass through. */
#include <dlfcn.h>
#include <stdlib.h>

#include "api/allocate.h"
#include "api/fast.h"
#include "base/port.h"
#include "base/text.h"
#include "guard/guarded.h"

#define PUBLIC __attribute__((visibility("default")))

typedef void (*new_handler)(void);
typedef new_handler (*get_new_handler_function)(void);
typedef void (*throw_function)(void);

#ifdef QUARRY_STATIC
/* std::get_new_handler() and std::__throw_bad_alloc(): whoever calls operator new links them. */
extern new_handler std_get_new_handler(void) __asm__("_ZSt15get_new_handlerv");
extern void std_throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv");

static get_new_handler_function get_new_handler(const void *caller UNUSED) { return std_get_new_handler; }
static throw_function throw_bad_alloc(const void *caller UNUSED) { return std_throw_bad_alloc; }
#else
/* A function as the caller's own object sees it: where that was opened with RTLD_LOCAL, the C++ runtime is in no other
 * scope. */
static void *function_of_caller(const char *name, const void *caller)
{
	Dl_info info;

	if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
		return NULL;
	void *object = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (object == NULL)
		return NULL;
	void *function = dlsym(object, name);
	dlclose(object);
	return function;
}

/* A function of the C++ runtime that the caller uses. */
static void *runtime_function(const char *name, const void *caller)
{
	void *function = dlsym(RTLD_DEFAULT, name);

	return function != NULL ? function : function_of_caller(name, caller);
}

static get_new_handler_function get_new_handler(const void *caller)
{
	return (get_new_handler_function)runtime_function("_ZSt15get_new_handlerv", caller);
}

static throw_function throw_bad_alloc(const void *caller)
{
	return (throw_function)runtime_function("_ZSt17__throw_bad_allocv", caller);
}
#endif

_Noreturn static COLD void no_runtime(size_t size)
{
	char buffer[256];
	struct text text = text_over(buffer, sizeof(buffer));

	text_format(&text, "quarry: operator new(%u): out of memory, and no C++ runtime is loaded that could throw "
	                   "std::bad_alloc\n", (uint64_t)size);
	text_write_error(&text);
	port_abort();
}

/* What the standard says about failure: the handler may free something, throw, or end the program; without one,
 * std::bad_alloc. Returns when a handler has returned. */
static COLD void handle_failure(size_t size, const void *caller)
{
	get_new_handler_function get = get_new_handler(caller);
	new_handler handler = get != NULL ? get() : NULL;

	if (handler != NULL) {
		handler();
		return;
	}
	throw_function throw_it = throw_bad_alloc(caller);
	if (throw_it != NULL)
		throw_it();
	no_runtime(size);
}

typedef void *(*slow_function)(size_t size);
typedef void *(*aligned_function)(size_t alignment, size_t size);

static COLD void *new_retry(size_t size, size_t alignment, aligned_function allocate, const void *caller)
{
	void *block;

	while ((block = allocate(alignment, size)) == NULL)
		handle_failure(size, caller);
	return block;
}

#define CALLER __builtin_return_address(0)

ALWAYS_INLINE void *new_block(size_t size, slow_function slow, aligned_function again, const void *caller)
{
	void *block = fast_allocate_by(size, slow);

	return LIKELY(block != NULL) ? block : new_retry(size, GRANULE_BYTES, again, caller);
}

static inline void *new_aligned(size_t size, size_t alignment, aligned_function allocate, const void *caller)
{
	void *block = allocate(alignment, size);

	return LIKELY(block != NULL) ? block : new_retry(size, alignment, allocate, caller);
}

/* operator new(size_t), new[]; with align_val_t. */
PUBLIC void *_Znwm(size_t size) { return new_block(size, allocate_slow_new, allocate_aligned_new, CALLER); }
PUBLIC void *_Znam(size_t size) { return new_block(size, allocate_slow_new_array, allocate_aligned_new_array, CALLER); }
PUBLIC void *_ZnwmSt11align_val_t(size_t size, size_t alignment) { return new_aligned(size, alignment, allocate_aligned_new, CALLER); }
PUBLIC void *_ZnamSt11align_val_t(size_t size, size_t alignment) { return new_aligned(size, alignment, allocate_aligned_new_array, CALLER); }

#ifndef QUARRY_STATIC
typedef void *(*nothrow_function)(size_t size, const void *tag);
typedef void *(*nothrow_aligned_function)(size_t size, size_t alignment, const void *tag);

/* The new that must not throw: a handler still may, and C can't catch. The runtime's own operator does: it calls our
 * throwing one in a try block. Without a handler the answer is NULL at once. */
static COLD void *nothrow_retry(size_t size, size_t alignment, const char *name, const void *tag, const void *caller)
{
	get_new_handler_function get = get_new_handler(caller);

	if (get == NULL || get() == NULL)
		return NULL;
	void *next = dlsym(RTLD_NEXT, name);
	if (next == NULL)
		next = function_of_caller(name, caller);
	if (next == NULL)
		return NULL;
	if (alignment > GRANULE_BYTES)
		return ((nothrow_aligned_function)next)(size, alignment, tag);
	return ((nothrow_function)next)(size, tag);
}

/* The same with nothrow_t. A static program takes the C++ library's own, which call the ones above in a try block. */
PUBLIC void *_ZnwmRKSt9nothrow_t(size_t size, const void *tag)
{
	void *block = fast_allocate_by(size, allocate_slow_new);
	return LIKELY(block != NULL) ? block : nothrow_retry(size, GRANULE_BYTES, "_ZnwmRKSt9nothrow_t", tag, CALLER);
}

PUBLIC void *_ZnamRKSt9nothrow_t(size_t size, const void *tag)
{
	void *block = fast_allocate_by(size, allocate_slow_new_array);
	return LIKELY(block != NULL) ? block : nothrow_retry(size, GRANULE_BYTES, "_ZnamRKSt9nothrow_t", tag, CALLER);
}

PUBLIC void *_ZnwmSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag)
{
	void *block = allocate_aligned_new(alignment, size);
	return LIKELY(block != NULL)
	           ? block
	           : nothrow_retry(size, max_size(alignment, GRANULE_BYTES + 1), "_ZnwmSt11align_val_tRKSt9nothrow_t", tag, CALLER);
}

PUBLIC void *_ZnamSt11align_val_tRKSt9nothrow_t(size_t size, size_t alignment, const void *tag)
{
	void *block = allocate_aligned_new_array(alignment, size);
	return LIKELY(block != NULL)
	           ? block
	           : nothrow_retry(size, max_size(alignment, GRANULE_BYTES + 1), "_ZnamSt11align_val_tRKSt9nothrow_t", tag, CALLER);
}

PUBLIC void _ZdlPvRKSt9nothrow_t(void *block, const void *tag UNUSED) { fast_release(block, "operator delete"); }
PUBLIC void _ZdaPvRKSt9nothrow_t(void *block, const void *tag UNUSED) { fast_release(block, "operator delete[]"); }
PUBLIC void _ZdlPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment, const void *tag UNUSED) { fast_release_said(block, GUARDED_UNSAID, alignment, "operator delete"); }
PUBLIC void _ZdaPvSt11align_val_tRKSt9nothrow_t(void *block, size_t alignment, const void *tag UNUSED) { fast_release_said(block, GUARDED_UNSAID, alignment, "operator delete[]"); }
#endif

/* operator delete, delete[]; sized; aligned; both. The sizes are not trusted, but for guard mode. */
PUBLIC void _ZdlPv(void *block) { fast_release(block, "operator delete"); }
PUBLIC void _ZdaPv(void *block) { fast_release(block, "operator delete[]"); }
PUBLIC void _ZdlPvm(void *block, size_t size) { fast_release_said(block, size, 0, "operator delete"); }
PUBLIC void _ZdaPvm(void *block, size_t size) { fast_release_said(block, size, 0, "operator delete[]"); }
PUBLIC void _ZdlPvSt11align_val_t(void *block, size_t alignment) { fast_release_said(block, GUARDED_UNSAID, alignment, "operator delete"); }
PUBLIC void _ZdaPvSt11align_val_t(void *block, size_t alignment) { fast_release_said(block, GUARDED_UNSAID, alignment, "operator delete[]"); }
PUBLIC void _ZdlPvmSt11align_val_t(void *block, size_t size, size_t alignment) { fast_release_said(block, size, alignment, "operator delete"); }
PUBLIC void _ZdaPvmSt11align_val_t(void *block, size_t size, size_t alignment) { fast_release_said(block, size, alignment, "operator delete[]"); }

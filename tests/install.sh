#!/usr/bin/env bash
# An installed Quarry serves: programs that link with the shared library, with the static one and with the core,
# through pkg-config, and programs that know nothing of it.
. "${QUARRY_SOURCE:-$(dirname "$0")/..}/tests/tap.sh"

# make's variables, given or inherited, are not for this one.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL DESTDIR LD_PRELOAD
cd "$QUARRY_BUILD" || bail "no build directory"

# The output of a command goes to a file, shown if it fails.
quietly() {
	"$@" >"$scratch/log" 2>&1 || { diag "$(tail -n 20 "$scratch/log")"; return 1; }
}

ok "make install DESTDIR=..." quietly "$MAKE" -s install DESTDIR="$scratch/root" || done_testing

pc=$(find "$scratch/root" -name quarry.pc)
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH=${pc%/*}
flags=$(pkg-config --define-variable=libdir="$libdir" \
	--define-variable=includedir="$(dirname "$(dirname "$(find "$scratch/root" -name quarry.h)")")" --cflags --libs quarry)
is "$(pkg-config --modversion quarry)" \
   "$(sed -n 's/^#define QUARRY_VERSION_[A-Z]* //p' "$QUARRY_SOURCE/include/quarry/quarry.h" | paste -s -d .)" \
   "quarry.pc has the header's version"

for file in bin/quarry include/quarry/quarry.h share/man/man1/quarry.1 share/man/man3/quarry.3 \
            share/man/man7/quarry_options.7; do
	ok "$file is installed" test -n "$(find "$scratch/root" -path "*/$file")"
done

# Whose malloc is it? quarry_usable_size aborts unless the block is Quarry's. Names like `die` and `text` are the
# program's own: they must not collide with the library's.
cat >"$scratch/program.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <quarry/quarry.h>
int die, text_over, slab_take, span_take, lock_take;
int main(void)
{
	char *block = malloc(1000);
	strcpy(block, "quarry");
	block = realloc(block, 100000);
	int status;
	pid_t child = fork();
	if (child == 0) {
		free(block);
		_exit(malloc(10) != NULL ? 0 : 1);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	struct quarry_description about = quarry_describe(block);
	printf("%s %s\n", block, about.kind == QUARRY_LIVE ? "yes" : "no");
	free(block);
	return 0;
}
END
cat >"$scratch/program.cc" <<'END'
#include <cstdio>
#include <string>
#include <vector>
#include <quarry/quarry.h>
int main()
{
	std::vector<std::string> strings(1000, "a string that is too long for its own body to hold");
	std::printf("%s\n", quarry_describe(strings.data()).kind == QUARRY_LIVE ? "yes" : "no");
	try {
		throw 1;
	} catch (int) {
	}
}
END
cat >"$scratch/core.c" <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <quarry/quarry.h>
int main(void)
{
	void *ours = quarry_malloc(100), *theirs = malloc(100);
	printf("%d %d\n", quarry_describe(ours).kind == QUARRY_LIVE, quarry_describe(theirs).kind == QUARRY_FOREIGN);
	quarry_free(ours);
	free(theirs);
	return 0;
}
END

# link NAME COMPILER SOURCE FLAGS...: compiles, runs, leaves the output in $output
link() {
	local name=$1
	shift
	output=
	# shellcheck disable=SC2068 # flags are words
	ok "$name: links" quietly $@ -o "$scratch/$name" && output=$(LD_LIBRARY_PATH=$libdir "$scratch/$name" 2>&1)
}

link shared "$CC" "$scratch/program.c" "$flags"
is "$output" "quarry yes" "shared: malloc is Quarry's"
link static "$CC" "$scratch/program.c" "$flags -static"
is "$output" "quarry yes" "static: malloc is Quarry's, without --whole-archive"
link static-pie "$CC" "$scratch/program.c" "$flags -static-pie"
is "$output" "quarry yes" "static-pie: malloc is Quarry's"
link mixed "$CC" "$scratch/program.c" "${flags/-lquarry/$libdir/libquarry.a}"
is "$output" "quarry yes" "static Quarry, shared libc: malloc is Quarry's"
link core "$CC" "$scratch/core.c" "${flags/-lquarry/-lquarry-core}"
is "$output" "1 1" "core: both allocators side by side"
if command -v "${CXX%% *}" >/dev/null; then
	link cxx-shared "$CXX" "$scratch/program.cc" "$flags"
	is "$output" "yes" "C++ shared: operator new is Quarry's"
	link cxx-static "$CXX" "$scratch/program.cc" "$flags -static"
	is "$output" "yes" "C++ static: operator new is Quarry's"
else
	skip "C++ programs" "no C++ compiler"
fi

is "$(LD_PRELOAD=$libdir/libquarry.so sh -c 'echo served | tr a-z A-Z' 2>&1)" "SERVED" "preloaded into a shell"
LD_DEBUG=bindings LD_DEBUG_OUTPUT=$scratch/bindings LD_PRELOAD=$libdir/libquarry.so sh -c :
like "$(cat "$scratch"/bindings.*)" \
     "to [^ ]*libquarry\.so[^ ]* \[0\]: normal symbol .malloc. \[GLIBC_2" \
     "a versioned reference to malloc binds to Quarry's"

done_testing

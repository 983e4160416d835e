#!/usr/bin/env bash
# Two copies at once; dlopen: of libquarry.so itself into a program that runs, and by programs that it is preloaded into (RTLD_DEEPBIND, run
# paths, name spaces).
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/preload
unset QUARRY_OPTIONS
ulimit -c 0
compile() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@" -ldl -pthread || bail "can't compile $*"
}
compile "$folder/open.c" -o "$scratch/open"
compile -fPIC -shared "$folder/deep.c" -o "$scratch/deep.so"
preloaded() {
	timeout 100 env LD_PRELOAD="$QUARRY_SO" "$@" 2>&1
}

# The loader keeps some hundred bytes for thread-local storage of libraries that come late; these leave 64 of them.
libraries=()
for i in {1..40}; do
	echo "__thread int word_$i __attribute__((tls_model(\"initial-exec\"))); int get_$i(void) { return word_$i++; }" >"$scratch/tls.c"
	compile -fPIC -shared "$scratch/tls.c" -o "$scratch/tls$i.so"
	libraries+=("$scratch/tls$i.so")
done
is "$(timeout 100 "$scratch/open" late "${libraries[@]}" "$QUARRY_SO" 2>&1)" good \
   "opened and closed 50 times, behind 40 libraries with initial-exec TLS"
is "$(timeout 100 "$scratch/open" late-deep "${libraries[@]}" "$QUARRY_SO" 2>&1)" good "the same with RTLD_DEEPBIND"
cp "$QUARRY_SO" "$scratch/libsecond.so"
is "$(preloaded "$scratch/open" second "${libraries[@]}" "$scratch/libsecond.so")" good \
   "a second copy, opened by a program that a first one is preloaded into: each has its own blocks"
# A bundled copy, linked in under names of its own.
$NM -P -g "$QUARRY_BUILD/libquarry-core.a" 2>/dev/null | awk '$1 ~ /^quarry_/ { print $1, "bundled_" substr($1, 8) }' |
	sort -u >"$scratch/renames"
ok "the archive's names can be changed" "${OBJCOPY:-objcopy}" --redefine-syms="$scratch/renames" "$QUARRY_BUILD/libquarry-core.a" \
	"$scratch/bundled.a"
compile "$folder/copies.c" "$scratch/bundled.a" -o "$scratch/copies"
is "$(preloaded "$scratch/copies")" good "a bundled copy beside the preloaded one: threads, forks, each has its own blocks"
is "$(QUARRY_OPTIONS=guard=on preloaded "$scratch/copies")" good "both in guard mode"
like "$(ulimit -c 0; QUARRY_OPTIONS=foreign=abort preloaded "$scratch/copies" wrong)" '^quarry: free\(0x[0-9a-f]*\): ' \
     "foreign=abort: one's block in the other's free is reported"
if python=$(command -v python3); then
	like "$("$python" -c 'import ctypes, sys
for i in range(50):
    quarry = ctypes.CDLL(sys.argv[1])
    quarry.quarry_malloc.restype = ctypes.c_void_p
    quarry.quarry_free.argtypes = [ctypes.c_void_p]
    quarry.quarry_free(quarry.quarry_malloc(1000))
quarry.quarry_version.restype = ctypes.c_char_p
print(quarry.quarry_version().decode())' "$QUARRY_SO" 2>&1)" '^[0-9]+\.[0-9]+\.[0-9]+$' "opened by python's ctypes"
else
	skip "opened by python's ctypes" "no python3"
fi

is "$(preloaded "$scratch/open" deep "$scratch/deep.so")" good "RTLD_DEEPBIND is masked: blocks go both ways"
is "$(QUARRY_OPTIONS=deepbind=keep preloaded "$scratch/open" deep-kept "$scratch/deep.so")" good \
   "deepbind=keep: the library's blocks are libc's, and are forwarded to it"

# A library with a run path opens another by its bare name: the loader must see the library as the caller.
mkdir "$scratch/sub"
echo 'int sub_answer(void) { return 42; }' >"$scratch/sub.c"
compile -fPIC -shared "$scratch/sub.c" -o "$scratch/sub/libsub.so"
cat >"$scratch/caller.c" <<'END'
#include <dlfcn.h>
#include <stdlib.h>
int answer(void)
{
	void *library = dlopen("libsub.so", RTLD_NOW);
	if (library == NULL)
		return 0;
	return ((int (*)(void))dlsym(library, "sub_answer"))();
}
END
# shellcheck disable=SC2016 # the loader's variable
compile -fPIC -shared "$scratch/caller.c" -o "$scratch/caller.so" -Wl,-rpath,'$ORIGIN/sub'
is "$(timeout 100 "$scratch/open" run-path "$scratch/caller.so" 2>&1)" good "(a run path serves without Quarry)"
is "$(preloaded "$scratch/open" run-path "$scratch/caller.so")" good "dlopen finds a library on its caller's run path"
is "$(QUARRY_OPTIONS=deepbind=keep preloaded "$scratch/open" run-path "$scratch/caller.so")" good "also with deepbind=keep"
is "$(preloaded "$scratch/open" name-space "$scratch/deep.so")" good "dlmopen into a name space of its own"
done_testing

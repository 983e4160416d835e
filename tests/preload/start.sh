#!/usr/bin/env bash
# The start and the end of programs that libquarry.so is preloaded into: what allocates before main and after it, and
# the options.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/preload
unset QUARRY_OPTIONS
ulimit -c 0

compile() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@" -pthread -ldl
}
preloaded() {
	timeout 100 env LD_PRELOAD="$QUARRY_SO" "$@" 2>&1
}

# ---- Before main and after it

compile "$folder/early_late.c" -o "$scratch/plain" || bail "can't compile early_late.c"
is "$(preloaded "$scratch/plain")" good "constructors, preinit_array, atexit, keys, threads that outlive main"
if compile -DRESOLVER "$folder/early_late.c" -o "$scratch/lazy" 2>/dev/null; then
	compile -DRESOLVER "$folder/early_late.c" -Wl,-z,now -o "$scratch/now" || bail "can't link with -z now"
	compile -DRESOLVER -no-pie "$folder/early_late.c" -o "$scratch/no-pie" || bail "can't link with -no-pie"
	for kind in lazy now no-pie; do
		is "$(preloaded "$scratch/$kind")" good "the same, and an ifunc resolver of the program that allocates ($kind)"
	done
	compile -fPIC -shared "$folder/resolver_library.c" -o "$scratch/libresolver.so" || bail "can't compile a library"
	compile "$folder/resolver_main.c" -o "$scratch/resolver_before" -L"$scratch" -L"${QUARRY_SO%/*}" \
		-Wl,--no-as-needed -lresolver -lquarry -Wl,-rpath,"$scratch:${QUARRY_SO%/*}" || bail "can't link"
	is "$("$scratch/resolver_before" 2>&1)" 42 "a library's own resolver allocates, libquarry.so linked after the library"
	output=$(preloaded "$scratch/resolver_before" 2>&1)
	if [ "$output" = 42 ]; then
		pass "a library's own resolver allocates, preloaded"
	else
		skip "a library's own resolver allocates, preloaded" \
		     "the loader has not relocated preloaded libraries then; known limit, of any preloaded allocator"
	fi
else
	skip "ifunc resolvers" "the compiler knows no ifunc"
fi
if command -v "${CXX%% *}" >/dev/null; then
	# shellcheck disable=SC2086 # $CXX may carry flags
	$CXX -std=c++17 -O1 -w "$folder/cxx_threads.cc" -o "$scratch/cxx_threads" -pthread || bail "can't compile cxx_threads.cc"
	is "$(preloaded "$scratch/cxx_threads")" good "destructors of C++'s thread_local and static objects"
else
	skip "C++'s thread_local" "no C++ compiler"
fi

# ---- Options

for what in "" -DOWN_DEFAULTS; do
	compile $what "$folder/options.c" -o "$scratch/options$what" || bail "can't compile options.c"
done
with() {
	QUARRY_OPTIONS=$1 preloaded "$scratch/options"
}
is "$(with "")" ran "no options: no word"
is "$(with "decay_ms=5,retain=1G,stats=off")" ran "good options: no word"
lines=$(with "colour=blue")
like "$lines" '^quarry: QUARRY_OPTIONS: colour=blue: no such option; allowed: [a-z_, ]*foreign' "an unknown key is reported"
is "$(wc -l <<<"$lines") ${lines##*$'\n'}" "2 ran" "in one line, and the program runs"
lines=$(with "decay_ms=fast")
like "$lines" '^quarry: QUARRY_OPTIONS: decay_ms=fast: not a number; allowed: 0 to 3600000' "a bad value is reported"
is "$(wc -l <<<"$lines") ${lines##*$'\n'}" "2 ran" "in one line, and the program runs"
is "$(with "decay_ms=fast,colour=blue,foreign=never,retain=1Q,stats=maybe,help=1" | grep -c '^quarry: QUARRY_OPTIONS: ')" 6 \
   "each mistake has its line"
like "$(with "decay_ms=fast,retain=7M,confirm")" 'quarry: decay_ms=1000 \(default\).*quarry: retain=7M \(QUARRY_OPTIONS\)' \
     "what is wrong stays as it was, what is right counts"
rows=$(grep -c '^OPTION_' "$QUARRY_SOURCE/src/base/options.def")
is "$(with confirm | grep -c '^quarry: [a-z_]*=[^ ]* ([a-zA-Z_]*)$')" "$rows" "confirm: a line for each option"
is "$(with help | grep -c '^[a-z_]* (.*, default .*): ')" "$rows" "help: a line for each option"
like "$(with stats)" 'quarry: statistics of version.*live +[1-9]' "stats: at the end"
is "$(QUARRY_OPTIONS=confirm,stats,help preloaded "$scratch/options" 2>/dev/null | head -n 1 | cut -c 1-7)" "foreign" \
   "(help comes first)"

own() {
	QUARRY_OPTIONS=$1 preloaded "$scratch/options-DOWN_DEFAULTS"
}
# A preloaded library sees the program's symbol only if the program exports it.
compile -DOWN_DEFAULTS -rdynamic "$folder/options.c" -o "$scratch/options-DOWN_DEFAULTS" || bail "can't compile options.c"
like "$(own "")" 'quarry: decay_ms=77 \(quarry_options\).quarry: retain=3M \(quarry_options\)' "the program's own defaults"
like "$(own "retain=9M")" 'quarry: decay_ms=77 \(quarry_options\).quarry: retain=9M \(QUARRY_OPTIONS\)' \
     "the environment overrides them key by key"
compile -DOWN_DEFAULTS -DCORE "$folder/options.c" "$QUARRY_BUILD/libquarry-core.a" -o "$scratch/core" || bail "can't link"
like "$("$scratch/core" 2>&1)" 'quarry: retain=3M \(quarry_options\)' "also in the core"

# ---- Sealed

offset=$($READELF -Ws "$QUARRY_SO" | awk '$8 == "sealed" { print $2; exit }')
if [ -n "$offset" ]; then
	compile "$folder/sealed.c" -o "$scratch/sealed" || bail "can't compile sealed.c"
	output=$(preloaded "$scratch/sealed" "$offset")
	is "$? $output" "139 read" "the options can be read, not written"
else
	skip "the options can be read, not written" "libquarry.so is stripped"
fi

# ---- Programs with more rights than their user: the environment doesn't count.

if [ "$(id -u)" != 0 ]; then
	skip "options are ignored in a setuid program" "only root can make one for another user"
elif ! id nobody >/dev/null 2>&1 || ! command -v setpriv >/dev/null; then
	skip "options are ignored in a setuid program" "no user nobody or no setpriv"
else
	chmod 755 "$scratch"
	as_nobody() {
		QUARRY_OPTIONS=confirm setpriv --reuid nobody --clear-groups "$@" 2>&1
	}
	compile -DCORE "$folder/options.c" "$QUARRY_BUILD/libquarry-core.a" -o "$scratch/secure" || bail "can't link"
	chmod 755 "$scratch/secure"
	like "$(as_nobody "$scratch/secure")" "quarry: .*ran" "an ordinary program of nobody's reads the environment"
	chmod u+s "$scratch/secure"
	if [ "$(as_nobody "$scratch/secure")" = ran ]; then
		pass "a setuid program ignores it"
	elif findmnt -no OPTIONS -T "$scratch" | grep -q nosuid; then
		skip "a setuid program ignores it" "$scratch is mounted nosuid"
	else
		not_ok "a setuid program ignores it"
	fi
fi
done_testing

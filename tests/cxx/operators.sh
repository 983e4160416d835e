#!/usr/bin/env bash
# C++'s new and delete in all their forms (operators.h): preloaded, linked, linked statically, and in a library that a C
# program opens.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

command -v "${CXX%% *}" >/dev/null || skip_all "no C++ compiler"
cxx=$QUARRY_SOURCE/tests/cxx
unset QUARRY_OPTIONS

compile() {
	# shellcheck disable=SC2086 # $CXX may carry flags
	$CXX -std=c++17 -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@"
}
compile "$cxx/operators.cc" -o "$scratch/preloaded" -ldl || bail "can't compile operators.cc"
compile -DLINKED "$cxx/operators.cc" -o "$scratch/shared" -L"${QUARRY_SO%/*}" -lquarry -Wl,-rpath,"${QUARRY_SO%/*}" ||
	bail "can't link with libquarry.so"
compile -fPIC -shared "$cxx/library.cc" -o "$scratch/library.so" -ldl || bail "can't compile library.cc"
# shellcheck disable=SC2086 # $CC may carry flags
$CC -O1 -w -D_GNU_SOURCE "$cxx/open.c" -o "$scratch/open" -ldl || bail "can't compile open.c"

# results NAME COMMAND...: passes the command's lines of TAP on
results() {
	local name=$1 output status=0 line
	shift
	output=$("$@" 2>&1) || status=$?
	is "$status" 0 "$name: exit status"
	like "$output" '1\.\.[1-9][0-9]*$' "$name: all was checked"
	while IFS= read -r line; do
		case $line in
		"ok "*) pass "$name: ${line#* - }" ;;
		"not ok "*) not_ok "$name: ${line#* - }" ;;
		1..*) ;;
		*) diag "$name: $line" ;;
		esac
	done <<<"$output"
}

limited() (
	ulimit -c 0
	ulimit -v 1048576
	"$@" limited
)

everywhere() {
	results "$@"
	results "$1, little memory" limited "${@:2}"
	results "$1, the option limit" env QUARRY_OPTIONS=limit=1G "${@:2}" limited
}

everywhere "preloaded" env LD_PRELOAD="$QUARRY_SO" "$scratch/preloaded"
everywhere "linked" "$scratch/shared"
everywhere "C++ library of a C program" env LD_PRELOAD="$QUARRY_SO" "$scratch/open" "$scratch/library.so"
for kind in static static-pie; do
	if ! echo 'int main() {}' | compile -x c++ - -$kind -o "$scratch/probe" 2>/dev/null; then
		skip "$kind" "the compiler can't link with -$kind"
	elif ok "$kind: links" compile -DLINKED "$cxx/operators.cc" -o "$scratch/$kind" -L"$QUARRY_BUILD" -lquarry -$kind; then
		everywhere "$kind" "$scratch/$kind"
	fi
done
if compile -DLINKED "$cxx/operators.cc" -o "$scratch/mixed" "$QUARRY_BUILD/libquarry.a"; then
	everywhere "libquarry.a in a dynamic program" "$scratch/mixed"
else
	not_ok "libquarry.a in a dynamic program: links"
fi
done_testing

#!/usr/bin/env bash
# Programs that are linked statically with Quarry: -lquarry -static is all it takes, and every block is Quarry's. C++:
# tests/cxx/operators.sh.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/static
unset QUARRY_OPTIONS

run() {
	# shellcheck disable=SC2086 # words
	timeout 100 ${UNIT_WRAPPER:-} "$@"
}

link() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@" -pthread
}

for kind in static static-pie; do
	if ! echo 'int main(void) { return 0; }' | link -x c - -$kind -o "$scratch/probe" 2>/dev/null; then
		skip "$kind" "the compiler can't link with -$kind"
		continue
	fi
	ok "$kind: links, no name is defined twice" link "$folder/program.c" -L"$QUARRY_BUILD" -lquarry -$kind \
		-o "$scratch/$kind" || continue
	is "$($NM -P "$scratch/$kind" | grep -cE '^(_int_malloc|__libc_malloc|ptmalloc_init) ')" 0 \
	   "$kind: the C library's malloc is not in it"
	output=$(run "$scratch/$kind" 2>&1)
	is "$?" 0 "$kind: exit status"
	like "$output" '1\.\.[1-9][0-9]*$' "$kind: all was checked"
	while IFS= read -r line; do
		case $line in
		"ok "*) pass "$kind: ${line#* - }" ;;
		"not ok "*" - a child of fork")
			if [ -n "${QUARRY_TEST_EMULATOR:-}" ]; then
				skip "$kind: a child of fork" "$QUARRY_TEST_EMULATOR: a child of a program with threads can't start any"
			else
				not_ok "$kind: a child of fork"
			fi
			;;
		"not ok "*) not_ok "$kind: ${line#* - }" ;;
		1..*) ;;
		*) diag "$line" ;;
		esac
	done <<<"$output"

	if [ -n "${QUARRY_TEST_EMULATOR:-}" ]; then
		skip "$kind: forks in the first constructor" "$QUARRY_TEST_EMULATOR: a child of a program with threads can't start any"
	else
		link "$folder/early.c" -L"$QUARRY_BUILD" -lquarry -$kind -o "$scratch/early" || bail "can't link early.c"
		is "$(run "$scratch/early" 2>&1)" good "$kind: threads and forks in the first constructor, as the first calls of malloc"
	fi

	link "$folder/mistake.c" -L"$QUARRY_BUILD" -lquarry -$kind -o "$scratch/mistake" || bail "can't link mistake.c"
	like "$( (ulimit -c 0; run "$scratch/mistake") 2>&1)" '^quarry: free\(0x[0-9a-f]*\): double free' "$kind: a double free is reported"
	like "$( (ulimit -c 0; run "$scratch/mistake" stack) 2>&1)" "^quarry: free\(0x[0-9a-f]*\): pointer to this thread's stack" \
	     "$kind: there is nobody to forward a pointer to"
	like "$(QUARRY_OPTIONS=confirm,retain=1M run "$scratch/$kind" 2>&1)" "quarry: retain=1M \(QUARRY_OPTIONS\)" \
	     "$kind: options are read"
done
done_testing

#!/usr/bin/env bash
# Helgrind and DRD see of a threaded program with Quarry what the program does, and nothing of what Quarry does. Builds
# that are configured with --enable-valgrind only. QUARRY_TEST_ROUNDS: how often each thread goes through its work.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

grep -q -e '-DQUARRY_VALGRIND=1' "$QUARRY_BUILD/Makefile" || skip_all "not configured with --enable-valgrind"
rounds=${QUARRY_TEST_ROUNDS:-4}
valgrind="valgrind -q --error-exitcode=99 --soname-synonyms=somalloc=nouserintercepts"
# The C library hands the stacks that it keeps on, and what lies beside them, in a way that helgrind reports.
export GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0

# build PROGRAM SOURCE ARGUMENT...
build() {
	local program=$scratch/$1 source=$QUARRY_SOURCE/tests/valgrind/$2
	shift 2
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -g -O1 -I"$QUARRY_SOURCE/include" "$source" -o "$program" "$@" -pthread -ldl ||
		bail "can't compile $2"
}

# Valgrind 3.19 says of system calls that are newer than itself that it doesn't know them. Where a joined thread has not
# quite ended in its eyes, which needs a busy machine, its helgrind fails an assertion of its own: then once more.
see() {
	local tool=$1 seen status
	shift
	for _ in 1 2 3; do
		status=0
		# shellcheck disable=SC2086 # words
		seen=$(timeout --kill-after=5 300 $valgrind --tool="$tool" "$@" 2>&1) || status=$?
		grep -q '^Helgrind: .*Assertion' <<<"$seen" || break
	done
	grep -v '^--' <<<"$seen"
	echo "status $status"
}

# clean TOOL NAME ARGUMENT...
clean() {
	local tool=$1 name=$2
	shift 2
	is "$(see "$tool" "$@")" "done"$'\n'"status 0" "$name"
}

# The place in the program's code where each report begins, and how many: one thread's access of two.
race() {
	local tool=$1 name=$2 report
	shift 2
	report=$(see "$tool" "$@")
	is "$(grep -A 4 -E 'Possible data race|Conflicting store' <<<"$report" | grep -o -E '(at|by) 0x[0-9A-F]+: .*' |
		awk '$1 == "at"' | sed 's/.*: //')" "write_one (threads.c:$race_line)" "$name"
	like "$report" 'status 99$' "$name: valgrind's status"
	[ "$tap_failed" -eq 0 ] || diag "$report"
}

build threads threads.c
build archive threads.c "$QUARRY_BUILD/libquarry.a"
build core threads.c -DQUARRY_NAMES "$QUARRY_BUILD/libquarry-core.a"
build blocks blocks.c "$QUARRY_BUILD/libquarry-core.a"
race_line=$(awk '/the race/ && /= 1/ { print NR }' "$QUARRY_SOURCE/tests/valgrind/threads.c")

is "$(see helgrind "$scratch/blocks")" "good"$'\n'"status 0" "helgrind looks at live blocks, and at nothing else"
clean helgrind "libquarry-core.a: no false report" "$scratch/core" 0 "$rounds"
race helgrind "libquarry.a: the program's race in a large block" "$scratch/archive" 300000 "$rounds"
export LD_PRELOAD=$QUARRY_SO
race helgrind "preloaded: the program's race in a small block" "$scratch/threads" 48 "$rounds"
QUARRY_OPTIONS=guard=on race helgrind "preloaded, guarded: the program's race and nothing else" "$scratch/threads" 48 "$rounds"
race drd "preloaded, DRD: the program's race and nothing else" "$scratch/threads" 48 1
done_testing

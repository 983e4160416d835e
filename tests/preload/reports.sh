#!/usr/bin/env bash
# Reports come out of places where little may be relied on: a signal handler that interrupted Quarry, a stack that is
# nearly full, a heap whose own memory was overwritten. No deadlock, nothing silent that needn't be.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$QUARRY_SOURCE/tests/preload/reports.c" -pthread \
	-ldl -o "$scratch/reports" || bail "can't compile reports.c"

# ended OPTIONS MODE NUMBER: "STATUS FIRST LINE"
ended() {
	local status
	QUARRY_OPTIONS=$1 LD_PRELOAD=$QUARRY_SO timeout -s KILL 30 "$scratch/reports" "$2" "$3" >"$scratch/said" 2>&1
	status=$?
	echo "$status $(head -n 1 "$scratch/said")"
} 2>/dev/null

reported='^134 quarry: (free|malloc|realloc|calloc)\(.*\): '
# all OPTIONS MODE NAME NUMBER...
all() {
	local options=$1 mode=$2 name=$3 number found
	shift 3
	for number; do
		found=$(ended "$options" "$mode" "$number")
		if ! [[ $found =~ $reported ]]; then
			not_ok "$name"
			diag "number $number: $found"
			return
		fi
	done
	pass "$name"
}
for options in "" decay_ms=5 guard=on sample=100; do
	all "$options" signal "a signal handler's report, out of Quarry's own code (${options:-no options})" 0 1 2 5 8 13
	all "$options" stack "a report with 6,000 bytes of stack left (${options:-no options})" 6000
done

# What was overwritten may be what leads to the fault itself: then the kernel ends the process. But it ends.
reports=0 odd=
for number in {0..19}; do
	found=$(ended "" corrupt "$number")
	if [[ $found =~ $reported || $found == "134 quarry: fatal: "* ]]; then
		reports=$((reports + 1))
	elif ! [[ $found =~ ^(139|135)\ $ ]]; then
		odd+="number $number: $found"$'\n'
	fi
done
is "$odd" "" "twenty heaps whose own memory was overwritten: no one hangs, or goes on with a double free"
ok "most of those where little was overwritten are reported" [ "$reports" -ge 4 ]
diag "$reports of 20 reported"
all guard=on corrupt "in guard mode it is behind other tables" 0 4 9
done_testing

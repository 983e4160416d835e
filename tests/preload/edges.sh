#!/usr/bin/env bash
# Where a thread of the library's, and its files, could get in a program's way.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/edges.c" -pthread -o "$scratch/edges" ||
	bail "can't compile edges.c"

# edge OPTIONS MODE TEXT
edge() {
	local said
	said=$(QUARRY_OPTIONS=$1 LD_PRELOAD=$QUARRY_SO timeout -s KILL 60 "$scratch/edges" "$2" 2>&1; echo $?)
	if [ "$said" = "no seccomp
0" ]; then
		skip "$3" "no seccomp here"
	else
		is "$said" "good
0" "$3"
	fi
}
edge decay_ms=200 signal-waits "a signal that is blocked everywhere stays pending when the scavenger ends"
edge decay_ms=200 calls-are-trapped "a sandbox that answers openat itself"
edge decay_ms=200 child-in-a-sandbox "a sandbox set up while files are open, and a fork"
edge decay_ms=3600000 excess-goes "256 MiB above what may be retained go, however slow the decay"
edge decay_ms=1000 trim-and-fork "malloc_trim returns all while another thread forks"
done_testing

#!/usr/bin/env bash
# The scavenger in whole programs: what it gives back while nobody calls, and that no program notices its thread.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
compile() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$QUARRY_SOURCE/tests/preload/scavenger.c" \
		"$@" -pthread
}
compile -o "$scratch/scavenger" || bail "can't compile scavenger.c"
compile -DCORE "$QUARRY_BUILD/libquarry-core.a" -o "$scratch/core" || bail "can't link with libquarry-core.a"

# run OPTIONS SECONDS MODE: what the program says, and its status unless that is 0. By SIGKILL, since a process of which
# nothing but a scavenger is left would block all others.
run() {
	local status=0

	timeout -s KILL "$2" env QUARRY_OPTIONS="$1" LD_PRELOAD="$QUARRY_SO" "$scratch/scavenger" "$3" 2>&1 || status=$?
	[ "$status" -eq 0 ] || echo "status $status"
}
is "$(run decay_ms=300 30 silent)" good "200 MB that 8 threads have freed before they fell silent: 80 % go back"
is "$(run decay_ms=300,retain=1G 30 silent)" good "the same, by time alone"
is "$(run decay_ms=100 60 alone)" good "a program with one thread has one"
is "$(run decay_ms=100 10 leave)" good "main's thread ends first: the process ends with its last"
is "$(run decay_ms=3600000 10 leave)" good "the same, with a scavenger that sleeps for long"
is "$(run scavenger=off 10 leave-off)" good "the same, without a scavenger"
is "$(run decay_ms=20 10 leave-quietly)" good "the same, while it sleeps without a timer"
for decay_ms in 100 3600000; do
	for mode in leave leave-quietly; do
		is "$(timeout -s KILL 10 env QUARRY_OPTIONS=decay_ms=$decay_ms "$scratch/core" $mode 2>&1; echo $?)" "good
0" "main's thread, which has never allocated, ends first ($mode, decay_ms=$decay_ms)"
	done
done
# Threads that end at the same moment call the scavenger in the middle of its look.
hung=0
ends=()
for _ in {1..60}; do
	QUARRY_OPTIONS=decay_ms=3600000 timeout -s KILL 20 "$scratch/core" leave-quietly >>"$scratch/said" 2>&1 &
	ends+=($!)
done
for end in "${ends[@]}"; do
	wait "$end" 2>>"$scratch/said" || hung=$((hung + 1))
done
is "$hung" 0 "the same, in 60 processes at once: all end"
is "$(run scavenger=off,decay_ms=100 10 off)" good "scavenger=off: there is none"
is "$(run decay_ms=0 10 off)" good "nothing decays: there is none"
is "$(run decay_ms=200 30 signals)" good "it blocks all signals; they are handled by others"
is "$(run decay_ms=20 120 forks)" good "200 children of a storm of threads"
is "$(run decay_ms=20 60 fork-first)" good "children of threads that had no heap yet"
is "$(run decay_ms=100 60 goes)" good "it goes when main is alone again, and comes again"
is "$(run decay_ms=20 30 goes-quietly)" good "it goes when the last other thread ends without a call"
is "$(run decay_ms=100 10 identity)" good "setresuid, setresgid, seteuid"
is "$(run decay_ms=20 10 exit)" "good
status 7" "exit's status"
is "$(run decay_ms=20 10 abort)" "good
status 134" "abort"
done_testing

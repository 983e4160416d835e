#!/usr/bin/env bash
# How short memory is, in whole programs: that the files which tell it disturb nobody, and what it does in a control group
# that is almost full.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

[[ $(cat /proc/pressure/memory 2>/dev/null) = some* ]] || skip_all "this kernel doesn't tell how long tasks stall"
[ "$(ulimit -n)" -ge 1124 ] || skip_all "too few descriptors are allowed here"
ulimit -n 1124
unset QUARRY_OPTIONS
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/pressure.c" -o "$scratch/pressure" -pthread ||
	bail "can't compile pressure.c"

# run OPTIONS MODE...
run() {
	local status=0

	# What we were started with is not the program's to find.
	timeout -s KILL 100 env QUARRY_OPTIONS="$1" LD_PRELOAD="$QUARRY_SO" "$scratch/pressure" "${@:2}" \
		3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&- 10<&- 2>&1 || status=$?
	[ "$status" -eq 0 ] || echo "status $status"
}
is "$(run decay_ms=40 numbers)" good "high numbers, closed on exec; the first open gets 3; none before the first thread, at most one when there is none again"
is "$(run decay_ms=40 reused)" good "a program that closes all and uses the numbers finds its data whole"
is "$(run decay_ms=40 forks)" good "children keep them until they have their own"
is "$(run decay_ms=40 forks-early)" good "also of forks in the moment when they are opened"
is "$(run decay_ms=40,pressure=off none)" good "pressure=off: none"
is "$(run decay_ms=40,scavenger=off none)" good "scavenger=off: none"

# ---- A group that is almost full

folder=/sys/fs/cgroup/memory/quarry-test.$$
name="in a group that has used nine tenths of its limit"
trap 'rmdir "$folder" 2>/dev/null; rm -rf "$scratch"' EXIT
if ! mkdir "$folder" 2>/dev/null; then
	skip "$name" "no group can be made here"
elif ! echo $((400 << 20)) >"$folder/memory.limit_in_bytes" 2>/dev/null; then
	skip "$name" "no limit can be set here"
else
	said=$(
		echo "$BASHPID" >"$folder/cgroup.procs" && run decay_ms=100,stats short 400
	)
	like "$said" 'good.*memory is short +[a-z]+; [1-9][0-9]* looks' "$name: looks find it"
	for _ in {1..50}; do rmdir "$folder" 2>/dev/null && break; sleep 0.1; done
fi
done_testing

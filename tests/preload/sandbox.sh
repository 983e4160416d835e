#!/usr/bin/env bash
# Sandboxes that are set up after main has started: what Quarry does then is done by calls that each of them allows, or can be
# refused.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
compile() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$QUARRY_SOURCE/tests/preload/sandbox.c" \
		"$@" -pthread
}
compile -o "$scratch/sandbox" || bail "can't compile sandbox.c"
compile -static -o "$scratch/static" "$QUARRY_BUILD/libquarry.a" 2>/dev/null || rm -f "$scratch/static"

# said COMMAND...: what it says, and its status unless that is 0; the first line of a report alone
said() {
	local status=0

	timeout -s KILL 60 "$@" >"$scratch/out" 2>"$scratch/error" || status=$?
	cat "$scratch/out"
	sed -n 's/^quarry: free(.*): \(double free\):.*/\1/p' "$scratch/error"
	[ "$status" -eq 0 ] || echo "status $status"
}
# in_sandbox OPTIONS ACTION WHAT EXPECTED TEXT
in_sandbox() {
	local got
	got=$(said env QUARRY_OPTIONS="$1" LD_PRELOAD="$QUARRY_SO" "$scratch/sandbox" "$2" "$3" 2>/dev/null)
	if [[ $got == "no seccomp"* ]]; then
		skip "$2: $5" "no seccomp here"
	else
		is "$got" "$4" "$2: $5"
	fi
}
for action in kill EPERM ENOSYS EINVAL; do
	in_sandbox "" $action fresh good "before the first malloc"
	in_sandbox decay_ms=200 $action alone good "a program with one thread"
done
in_sandbox decay_ms=200 kill threads good "threads that have allocated before, all in it"
in_sandbox decay_ms=200,scavenger=off kill threads-without good "threads that have not, without a thread of our own"
in_sandbox decay_ms=200 kill threads-each good "each thread has set it up for itself"
in_sandbox limit=20M,decay_ms=200 EPERM double-free "double free
status 134" "a report"
in_sandbox "" kill double-free "double free
status 134" "a report, and what it and abort call is allowed"
for action in EPERM ENOSYS EINVAL; do
	in_sandbox decay_ms=200 $action threads good "threads, of which one watches how short memory is"
done
in_sandbox decay_ms=200 EPERM threads-without good "threads that have not allocated before: a scavenger is refused"
# By a flag and a function of glibc's, since 2.35.
if [ "$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc 2\.//')" -ge 35 ] 2>/dev/null; then
	in_sandbox decay_ms=200 kill threads-without good "threads that have not"
	in_sandbox "" kill files "0 2 2" "two files from the first thread on"
	in_sandbox scavenger=off kill files "0 0 0" "none without a thread of our own"
else
	skip "threads that have not" "this C library doesn't tell of the first thread"
fi
if [ -e "$scratch/static" ]; then
	is "$(said "$scratch/static" kill alone)" good "a static program"
else
	skip "a static program" "no static C library"
fi
done_testing

#!/usr/bin/env bash
# What Quarry asks of the system: nothing in a steady state, no file but those that the loader opens, and only calls of
# a short list.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

command -v strace >/dev/null || skip_all "no strace: install it (apt-get install strace)"
strace -o /dev/null true 2>/dev/null || skip_all "strace may not trace here"
unset QUARRY_OPTIONS
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/steady.c" -o "$scratch/steady" -pthread ||
	bail "can't compile steady.c"

# trace FILE PRELOAD ARGUMENTS...
trace() {
	strace -f -o "$1" -E LD_PRELOAD="$2" -E QUARRY_OPTIONS="${options:-}" "$scratch/steady" "${@:3}" || bail "the program ends badly under strace"
}
between_marks() {
	awk '/ getppid\(/ { inside = !inside; next } inside' "$1"
}
calls_of() {
	sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' "$1" | sort -u
}

trace "$scratch/one" "$QUARRY_SO"
options=pressure=off trace "$scratch/two" "$QUARRY_SO" second-thread
trace "$scratch/watching" "$QUARRY_SO" second-thread
trace "$scratch/plain" "" second-thread
is "$(grep -c ' getppid(' "$scratch/one")" 2 "(the marks are seen)"
is "$(between_marks "$scratch/one")" "" "100,000 blocks in a steady state: no system call"
is "$(between_marks "$scratch/two" | grep -v 'madvise\|mincore\|futex')" "" "with a second thread: none but giving back"
is "$(cat "$scratch/one" "$scratch/two" | grep -E '"/(proc|sys)/')" "" \
   "nothing under /proc or /sys is opened by a program with one thread, or with pressure=off"
opened() {
	grep -oE '(open|openat|access|stat|readlink)[a-z0-9]*\([^"]*"[^"]*"' "$1" | grep -oE '"[^"]*"' | grep -vE 'libquarry|/tls/|/x86_64/|/haswell/|glibc-hwcaps' | sort -u
}
is "$(comm -13 <(opened "$scratch/plain") <(opened "$scratch/two"))" '"/etc/quarry.conf"' \
   "no file is opened that isn't without Quarry, but that of options"
allowed='clock_gettime futex getpid getrandom gettid madvise mincore mmap mprotect mremap munmap mseal prctl prlimit64 sched_getparam sched_setscheduler process_madvise sysinfo'
# strace of before Linux 6.10 has no name for mseal.
allowed+=' syscall_0x1ce'
extra=$(comm -13 <(calls_of "$scratch/plain") <(calls_of "$scratch/two") | grep -vxF "$(tr ' ' '\n' <<<"$allowed")")
is "$extra" "" "no system call is made that isn't in the list"
# How short memory is: some files, opened before the program's steady state or in it, and the calls to read them.
opened_more=$(comm -13 <(opened "$scratch/plain") <(opened "$scratch/watching") |
	grep -vE '^"(/etc/quarry.conf|/proc/self/(cgroup|mountinfo)|/proc/thread-self/status|/proc/pressure/memory|/[^"]*/memory\.[a-z_]*)"$')
is "$opened_more" "" "no other file with pressure=on"
calls_more=$(comm -13 <(calls_of "$scratch/two") <(calls_of "$scratch/watching"))
is "$(grep -vxE 'close|fcntl|openat|statx|pread64|getrandom|memfd_create|pwrite64|read|lseek|mmap|madvise|mincore|futex|munmap' <<<"$calls_more")" "" "no other system calls"
done_testing

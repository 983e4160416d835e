#!/usr/bin/env bash
# Leaks of guarded blocks: each kind with its exact counts, and good programs of which nothing is said. The modes are
# leaks.c's. Under preload.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/guard
unset QUARRY_OPTIONS
ulimit -c 0
# Without optimisation: so that no register keeps what a variable no longer holds.
# shellcheck disable=SC2086 # $CC may carry flags
compile() { $CC -std=gnu11 -D_GNU_SOURCE -O0 -g -fno-builtin -w "$@" -pthread; }
compile "$folder/leaks.c" -o "$scratch/leaks" -ldl || bail "can't compile leaks.c"
compile -fPIC -shared "$folder/leaks_library.c" -o "$scratch/library.so" || bail "can't compile leaks_library.c"
cd "$scratch" || bail "no scratch directory"

# guarded OPTIONS COMMAND...: exit status in $status, output in files.
guarded() {
	local options=$1
	shift
	rm -f report
	timeout 120 env LD_PRELOAD="$QUARRY_SO" QUARRY_OPTIONS="guard=on,report=$scratch/report,$options" "$@" >output 2>error
	status=$?
	touch report
}

# What the report says was lost: its sums, and its groups in short.
lost() {
	sed -n 's/^  lost     //p; s/^  \(lost\|indirectly lost\|possibly lost\) \([0-9]*\) bytes.* in \([0-9]*\) blocks\{0,1\}, .*/\1 \2 \3/p' report
}

# mode NAME EXPECTED WHAT [OPTIONS]
mode() {
	guarded "guard_leaks=possibly${4:+,$4}" "$scratch/leaks" "$1" "$scratch/library.so"
	is "$status $(cat error)$(lost)" "0 $2" "$3"
}
nothing='; possibly 0 bytes in 0 blocks'

# ---- Lost

mode lost "303 bytes in 3 blocks$nothing
lost 303 3" "blocks of one stack"
like "$(cat report)" "^quarry: leaks: blocks that nothing points to
  lost .*
    #0 0x[0-9a-f]+ \($scratch/leaks\+0x.*
  next .*
  meaning  doc/errors.md#leaks$" "the stack begins with the program's own function, and the manual is named"
mode chain "32 bytes in 1 block, and 128 bytes in 4 blocks that these point to$nothing
lost 32 1
indirectly lost 128 4" "a list whose head is lost"
mode ring "32 bytes in 1 block, and 64 bytes in 2 blocks that these point to$nothing
lost 32 1
indirectly lost 64 2" "a ring"
mode itself "32 bytes in 1 block$nothing
lost 32 1" "a block that points to itself"
mode freed_holder "48 bytes in 1 block$nothing
lost 48 1" "a block whose holder was freed"
mode inside "0 bytes in 0 blocks; possibly 64 bytes in 1 block
possibly lost 64 1" "only a pointer to the inside"
mode inside_list "0 bytes in 0 blocks; possibly 128 bytes in 4 blocks
possibly lost 128 4" "a list that begins with such a pointer"
mode thread "400 bytes in 2 blocks$nothing
lost 400 2" "in threads that have ended"
mode thread_alive "200 bytes in 1 block$nothing
lost 200 1" "in a thread that waits"
mode unload "70 bytes in 1 block, and 71 bytes in 1 block that these point to$nothing
lost 70 1
indirectly lost 71 1" "the variable was in a library that was unloaded"
mode forked "300 bytes in 1 block$nothing
lost 300 1
100 bytes in 1 block$nothing
lost 100 1" "a fork's child tells its own, the parent its own"
mode through_lost "50 bytes in 1 block$nothing
lost 50 1" "held by a lost block that is not guarded" guard_sizes=40-60

for options in guard_align=1 guard_place=before guard_with=protection guard_with=checks guard_every=1,guard_depth=1; do
	mode chain "32 bytes in 1 block, and 128 bytes in 4 blocks that these point to$nothing
lost 32 1
indirectly lost 128 4" "a list with $options" $options
done

# ---- Not lost

mode good "" "a global variable"
mode list "" "a list that a global variable holds"
mode tls "" "thread-local storage"
mode tls_threads "" "thread-local storage of threads that wait"
mode tls_dynamic_threads "" "thread-local storage of a library that was opened"
mode key_threads "" "pthread_setspecific, first and second level"
mode mapped "" "in mapped memory: private, shared, read-only"
mode holes "" "in a mapping with inaccessible pages"
mode through_small "" "held by a small block that is not guarded" guard_sizes=40-60
mode through_large "" "held by a large one" guard_sizes=40-60
mode list "" "blocks at odd addresses" guard_align=1,guard_sizes=1-1000
if [ "$(uname -m)" = x86_64 ]; then
	mode registers "" "only in the registers of threads that run"
	mode registers_waiting "" "only in the registers of threads that wait in the kernel"
	guarded guard_leaks=on ./leaks registers_deaf
	is "$status $(cat error report)" "0 " "a thread that blocks all signals: not certain, not said"
	guarded guard_leaks=possibly ./leaks registers_deaf
	like "$(cat report)" "  unknown  2 threads could not be stopped" "but with guard_leaks=possibly"
fi
guarded guard_leaks=on ./leaks inside
is "$status $(cat error report)" "0 " "guard_leaks=on: what is only possibly lost is no report"

# ---- The exit status

guarded guard_leaks=on,guard_leaks_status=23 ./leaks status
is "$status $(cat output)" "23 buffered
late" "guard_leaks_status: all handlers run, output is flushed"
guarded guard_leaks=on,guard_leaks_status=23 ./leaks lost "" 3
is "$status" 3 "a status of the program's own stays"
guarded guard_leaks=on,guard_leaks_status=23 ./leaks good
is "$status" 0 "nothing is lost"
guarded guard_leaks=possibly,guard_leaks_status=23 ./leaks inside
is "$status" 0 "what is possibly lost doesn't count"
guarded guard_leaks=on ./leaks without_stderr
is "$status $(lost | head -n 1)" "0 100 bytes in 1 block$nothing" "a program that closes standard error"
guarded guard_leaks=off ./leaks lost
is "$status $(cat error report)" "0 " "guard_leaks=off"
guarded guard_leaks=on,guard_leaks_status=23 ./leaks without_files
is "$status $(lost)" "0 " "no file can be opened: nothing is known"
like "$(cat error)" "^quarry: guard: leaks can't be looked for \(error 24\)$" "which one line says"

# ---- quarry_leak_check

guarded guard_leaks=off ./leaks asked
is "$status $(cat output)" "0 lost 2, 2; read 2; caught 0" \
	"while other threads go on: a read that waits is not disturbed, signals of the program's are its own"
is "$(grep -c '^quarry: leaks: ' report)" 2 "a report each time"
timeout 120 env LD_PRELOAD="$QUARRY_SO" ./leaks asked >output
like "$(cat output)" "^lost -1, -1; " "without guard mode"
guarded guard_leaks=off ./leaks busy
is "$status $(cat output error report)" "0 0" "threads that allocate all the time lose nothing"

# ---- JSON

guarded guard_leaks=possibly,report_format=json ./leaks chain
if command -v python3 >/dev/null; then
	is "$(python3 - report <<-'END' 2>&1
		import json, sys
		report = json.load(open(sys.argv[1]))
		assert report["kind"] == "leaks" and report["deaf_threads"] == 0, report
		assert [(g["blocks"], g["bytes"], g["possibly"], g["indirectly"]) for g in report["leaks"]] == [
		    (1, 32, False, False), (4, 128, False, True)], report
		assert report["leaks"][0]["frames"][0]["module"].endswith("/leaks"), report
		print("good")
	END
	)" good "JSON"
else
	skip "JSON" "no python3"
fi

# ---- Good programs

# good EXPECTED COMMAND...
good() {
	local expected=$1
	shift
	if ! command -v "$1" >/dev/null; then
		skip "$1" "not installed"
		return
	fi
	guarded guard_leaks=on,guard_leaks_status=23 "$@"
	is "$status $(cat output error report)" "0 $expected" "$*"
}
good 1 python3 -c 'print(1)'
PYTHONMALLOC=malloc good 1 python3 -c 'import json; print(1)'
good 3 sqlite3 :memory: 'create table t(a); insert into t values(1),(2); select sum(a) from t'
good "$(git --version 2>/dev/null)" git --version
good "$(ls -l "$folder")" ls -l "$folder"
good 3 bash -c 'a=(1 2 3); echo ${a[2]}'
good root awk -F: 'NR == 1 { print $1 }' /etc/passwd
# perl does lose what its interpreter points to when it ends (memcheck counts the same): only that it isn't disturbed.
if command -v perl >/dev/null; then
	guarded guard_leaks=on perl -e 'my @a = map { {x => $_} } 1 .. 100; print scalar @a'
	is "$status $(cat output)" "0 100" "perl runs as without"
fi
# shellcheck disable=SC2086 # $CXX may carry flags
if $CXX -O1 -w "$folder/leaks_containers.cc" -o containers -pthread 2>/dev/null; then
	good "100 0" ./containers
	guarded guard_leaks=possibly ./containers
	is "$status $(cat error)$(lost)" "0 0 bytes in 0 blocks; possibly 160 bytes in 1 block
possibly lost 160 1" "C++: static containers, arrays with counts; a second base's pointer is one to the inside"
else
	skip "C++" "no compiler"
fi
done_testing

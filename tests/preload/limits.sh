#!/usr/bin/env bash
# Limits of the process and of the machine: programs start and run, and when memory runs out malloc says so, and one line names
# the limit.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/short_memory.c" -o "$scratch/short" ||
	bail "can't compile short_memory.c"

# limited MIB COMMAND...: preloaded, under the limit
limited() (
	ulimit -c 0
	ulimit -v "$(($1 * 1024))"
	LD_PRELOAD=$QUARRY_SO exec "${@:2}" 2>"$scratch/errors"
)
# unlimited programs are the measure: what doesn't run under the limit without Quarry need not with it.
plain() (
	ulimit -c 0
	ulimit -v "$(($1 * 1024))"
	exec "${@:2}" 2>/dev/null
)

printf '#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n' >"$scratch/hello.c"
compile_hello() {
	rm -f "$scratch/hello"
	# shellcheck disable=SC2086 # $CC may carry flags
	$1 "$2" $CC -O2 "$scratch/hello.c" -o "$scratch/hello" && "$scratch/hello"
}
for mib in 64 128 256; do
	is "$(limited $mib true; echo $?)" 0 "$mib MiB: true"
	# shellcheck disable=SC2016 # expanded there
	is "$(limited $mib sh -c 'echo $((6 * 7))')" 42 "$mib MiB: sh"
	if [ "$(plain $mib python3 -c 'print(sum(range(1000)))')" = 499500 ]; then
		is "$(limited $mib python3 -c 'print(sum(range(1000)))')" 499500 "$mib MiB: python3"
	else
		skip "$mib MiB: python3" "doesn't run without Quarry either, or is missing"
	fi
	if [ "$(compile_hello plain $mib)" = compiled ]; then
		is "$(compile_hello limited $mib)" compiled "$mib MiB: the C compiler"
	else
		skip "$mib MiB: the C compiler" "doesn't run without Quarry either"
	fi
	is "$(limited $mib "$scratch/short" $((mib * 1024)))" good "$mib MiB: memory that runs out, comes back"
	diag "$(sort -u "$scratch/errors")"
done
# RLIMIT_DATA counts what is committed, used or not.
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/short_data.c" -o "$scratch/short_data" ||
	bail "can't compile short_data.c"
limited_data() (
	ulimit -c 0
	ulimit -d "$(($1 * 1024))"
	LD_PRELOAD=$QUARRY_SO exec "$scratch/short_data" $(($1 * 1024)) "$2"
)
is "$(limited_data 256 trim)" good "256 MiB of data: malloc_trim gives back the charge"
is "$(limited_data 256 silent)" good "256 MiB of data: what is freed goes back with its charge by itself"
is "$(limited 24 "$scratch/short" 20480)" good "24 MiB: NULL and ENOMEM"
is "$(sort -u "$scratch/errors" | grep -c "^quarry: out of memory: [0-9]* bytes asked for, RLIMIT_AS (ulimit -v) is 25165824")" 1 \
   "and one line names the limit"

# Other programs, with little address space, and with little data.
# ends_alike TEXT COMMAND...: preloaded it says what it says without Quarry; it need not run if it doesn't there.
ends_alike() {
	local text=$1 expected got
	shift
	if ! command -v "$1" >/dev/null || ! expected=$( ($limit; exec "$@") 2>/dev/null); then
		skip "$text" "is missing, or doesn't run without Quarry either"
		return
	fi
	got=$( ($limit; LD_PRELOAD=$QUARRY_SO exec "$@") 2>/dev/null)
	is "$got" "$expected" "$text"
}
for limit in "ulimit -v 65536" "ulimit -d 65536" "ulimit -v 131072"; do
	# shellcheck disable=SC2016 # perl's
	ends_alike "$limit: perl" perl -e 'my %h; $h{$_ % 1000} .= "x$_" for 1..50000; print scalar(keys %h), length($h{7}), "\n"'
	ends_alike "$limit: python3" python3 -c 'import json; print(len(json.dumps([{"k": i} for i in range(20000)])))'
	ends_alike "$limit: sqlite3" sqlite3 :memory: "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n
		where i < 20000) insert into t select i, hex(i) from n; select count(*), sum(length(b)) from t"
	# shellcheck disable=SC2086 # $CC may carry flags
	ends_alike "$limit: the C compiler proper" $CC -O2 -S -o - "$scratch/hello.c"
	ends_alike "$limit: sort" sort "$QUARRY_SOURCE/src/base/options.def"
done

# The option limit.
short_limit() {
	QUARRY_OPTIONS=limit=48M LD_PRELOAD=$QUARRY_SO "$scratch/short" $((48 * 1024)) 2>"$scratch/errors"
}
is "$(short_limit)" good "limit=48M: NULL and ENOMEM, and memory comes back"
is "$(grep -c "^quarry: out of memory: [0-9]* bytes asked for, the option limit is 50331648" "$scratch/errors")" 1 \
   "and one line names it"
is "$(QUARRY_OPTIONS=limit=64M,guard=on LD_PRELOAD=$QUARRY_SO sh -c 'echo $((6 * 7))')" 42 "limit and guard mode"

# What a program makes for itself.
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/tests" "$QUARRY_SOURCE/tests/preload/machine.c" -pthread \
	-o "$scratch/machine" || bail "can't compile machine.c"
machine() {
	LD_PRELOAD=$QUARRY_SO timeout -s KILL 60 "$@" 2>&1
}
is "$(machine "$scratch/machine" maps)" good "vm.max_map_count is reached by the program itself"
is "$(machine "$scratch/machine" maps-first)" good "it is reached before the first request"
is "$(machine "$scratch/machine" space $((512 * 1024)))" good "an address space of 39 bits"
is "$(machine "$scratch/machine" space 16384)" good "16 GiB of it are left"
is "$(machine "$scratch/machine" space 256)" good "256 MiB of it are left"
is "$(machine "$scratch/machine" lock)" good "mlockall"
if setpriv --reuid=65534 --clear-groups --inh-caps=-all true 2>/dev/null; then
	is "$(ulimit -l 64; machine setpriv --reuid=65534 --clear-groups --inh-caps=-all "$scratch/machine" lock)" good \
	   "mlockall under ulimit -l 64"
else
	skip "mlockall under ulimit -l 64" "the user can't be changed"
fi
without_proc=(unshare -m sh -c 'umount -l /proc && exec "$@"' sh)
if "${without_proc[@]}" test ! -e /proc/self 2>/dev/null; then
	is "$(machine "${without_proc[@]}" "$scratch/machine" no-proc)" good "without /proc"
	is "$(QUARRY_OPTIONS=guard=on machine "${without_proc[@]}" "$scratch/machine" no-proc)" good "guard mode without /proc"
	ends_alike "python3 without /proc" "${without_proc[@]}" python3 -c 'print(sum(range(1000)))'
else
	skip "without /proc" "no name space of one's own here"
fi
done_testing

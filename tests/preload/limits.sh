#!/usr/bin/env bash
# Address space that is limited (ulimit -v): programs start and run, and when memory runs out malloc says so.
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
done_testing

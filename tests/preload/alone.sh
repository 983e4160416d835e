#!/usr/bin/env bash
# A program with nothing but the C library, preloaded: what of tests/preload runs on machines that are emulated, and with
# other C libraries.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -g -fno-builtin -funwind-tables -Wl,--eh-frame-hdr -w "$QUARRY_SOURCE/tests/preload/alone.c" -o "$scratch/alone" \
	-pthread || bail "can't compile alone.c"

# The emulator is not to be preloaded, its program is.
run() {
	local options=$1
	shift
	case ${UNIT_WRAPPER:-} in
	*qemu*)
		# shellcheck disable=SC2086 # words
		QUARRY_OPTIONS=$options timeout 100 $UNIT_WRAPPER -E LD_PRELOAD="$QUARRY_SO" "$scratch/alone" "$@" 2>&1
		;;
	*) QUARRY_OPTIONS=$options timeout 100 env LD_PRELOAD="$QUARRY_SO" "$scratch/alone" "$@" 2>&1 ;;
	esac
}

output=$(run confirm)
is "$?" 0 "exit status"
like "$output" $'quarry: retain=.*\ndone$' "it is Quarry's, and all blocks hold what was written"
like "$(run guard=on)" '(^|vm.max_map_count.*)done$' "guard mode"
is "$(run sample=100)" "done" "sampling"
like "$(run "" twice)" '^quarry: free\(0x[0-9a-f]*\): double free' "a double free is reported"
output=$(run guard=on twice)
like "$output" '^quarry: free\(0x[0-9a-f]*\): double free' "in guard mode, too"
like "$output" $'freed by[^\n]*\n    #0 0x[^\n]*/alone\\+0x' "with the stack of the first free"
like "$output" 'allocated by' "and who allocated"
like "$(run guard=on overflow)" '^quarry: write of 1 byte at 0x[0-9a-f]*: overflow: ' "an overflow is reported"
done_testing

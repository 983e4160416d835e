#!/usr/bin/env bash
# Threads that come and go cost nothing that stays.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

plan 1
unset QUARRY_OPTIONS
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$QUARRY_SOURCE/tests/preload/threads.c" \
	-o "$scratch/threads" -pthread -ldl || bail "can't compile threads.c"
is "$(timeout 300 env LD_PRELOAD="$QUARRY_SO" "$scratch/threads" 2>"$scratch/figures")" good \
   "50,000 short threads that hand blocks to main"
diag "$(cat "$scratch/figures")"
done_testing

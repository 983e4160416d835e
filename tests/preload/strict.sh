#!/usr/bin/env bash
# Strict overcommit (vm.overcommit_memory 2), which is the whole system's: so it runs alone, not with `make check`, and the
# system's limit is far beyond what others use; scripts/test starts it.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

vm=/proc/sys/vm
unset QUARRY_OPTIONS
[ -w $vm/overcommit_memory ] && [ -w $vm/overcommit_ratio ] || skip_all "vm.overcommit_memory can't be set by this user"
for program in machine strict; do
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/tests" "$QUARRY_SOURCE/tests/preload/$program.c" -o "$scratch/$program" -pthread ||
		bail "can't compile $program.c"
done

mode=$(cat $vm/overcommit_memory)
ratio=$(cat $vm/overcommit_ratio)
kbytes=$(cat $vm/overcommit_kbytes)
restore() {
	echo "$mode" >$vm/overcommit_memory
	# Each of the two sets the other to 0.
	if [ "$kbytes" -ne 0 ]; then echo "$kbytes" >$vm/overcommit_kbytes; else echo "$ratio" >$vm/overcommit_ratio; fi
}
trap 'restore; rm -rf "$scratch"' EXIT

# 32 TiB, of which each test leaves others most of one.
tib=32
memory=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)
{ echo $((tib * 1024 * 1024 * 1024 / memory * 100)) >$vm/overcommit_ratio && echo 2 >$vm/overcommit_memory; } 2>/dev/null ||
	skip_all "the kernel refuses strict overcommit"
under() (
	LD_PRELOAD=$QUARRY_SO exec timeout -s KILL 60 "$@" 2>"$scratch/errors"
)
is "$(under "$scratch/strict" $tib)" good "blocks of a TiB until there are no more, freed, and again"
is "$(under "$scratch/machine" all)" good "whatever a program does"
is "$(under "$scratch/machine" maps)" good "vm.max_map_count"
diag "$(sort -u "$scratch/errors")"
restore
done_testing

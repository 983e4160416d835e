#!/usr/bin/env bash
# What fuzzing has found worth keeping, again, and inputs near it: scripts/fuzz looks for more.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/fuzz
flags="-std=gnu11 -D_GNU_SOURCE -O1 -g -I$QUARRY_SOURCE/src -I$QUARRY_SOURCE/include -I$QUARRY_SOURCE/tests -I$QUARRY_SOURCE"

# replay NAME SOURCE...
replay() {
	local name=$1
	shift
	# shellcheck disable=SC2086 # $CC and $flags are words
	if ! $CC $flags "$folder/$name.c" "$folder/replay.c" "$@" "$QUARRY_BUILD/libcore.a" -pthread -o "$scratch/$name"; then
		not_ok "$name"
		return
	fi
	again "" "$name"
}
# again OPTIONS NAME
again() {
	like "$(QUARRY_CONFIG='' QUARRY_OPTIONS=$1 timeout 120 "$scratch/$2" "$folder/corpus/$2"/* 2>&1)" "^[1-9][0-9]+ inputs$" \
	     "$2${1:+ with $1}"
}

tools=$QUARRY_SOURCE/tools
replay operations
for options in secure=1 secure=2 guard=on; do
	again "$options" operations
done
replay options
replay elf "$tools/elf_file.c"
replay symbolize "$tools/symbolize.c" "$tools/command.c"
replay frames
done_testing

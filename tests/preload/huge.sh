#!/usr/bin/env bash
# Huge pages (thp): what the kernel is told, that it costs no mappings, and what comes of it.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

enabled=$(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null) || skip_all "this kernel has no transparent huge pages"
unset QUARRY_OPTIONS
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/preload/huge.c" -o "$scratch/huge" ||
	bail "can't compile huge.c"

# run OPTIONS MODE
run() {
	timeout 100 env QUARRY_OPTIONS="$1" LD_PRELOAD="$QUARRY_SO" "$scratch/huge" "$2" 2>&1 || echo "status $?"
}
for row in default:none never:none system:system always:wanted; do
	thp=${row%:*}
	is "$(run "thp=$thp" moved)" "moved blocks: ${row#*:}
blocks in their place: ${row#*:}
mappings: as before" "thp=$thp: blocks that realloc has moved, and the mappings when they are freed"
done
is "$(run retain=1G,thp=default filled)" "block: none
huge: none" "thp=default: none"
is "$(run retain=1G,thp=never filled)" "block: none
huge: none" "thp=never: none"
wanted=$(run retain=1G,thp=always filled)
like "$wanted" "block: wanted" "thp=always: they are asked for"
if [[ $enabled = *"[never]"* ]]; then
	skip "thp=always: most of a large block is huge" "the system grants none"
elif [[ $wanted = *"huge: none"* ]]; then
	skip "thp=always: most of a large block is huge" "none were free"
else
	like "$wanted" "huge: most" "thp=always: most of a large block is huge"
fi
is "$(run thp=never,decay_ms=100 scattered)" "by itself: most
by malloc_trim: most" "thp=never: free pages among blocks in use go back"
is "$(run thp=always,decay_ms=100 scattered)" "by itself: next to nothing
by malloc_trim: most" "thp=always: they stay, so that huge pages do, until malloc_trim"
done_testing

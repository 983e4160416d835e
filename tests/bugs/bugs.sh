#!/usr/bin/env bash
# Every kind of wrong pointer is reported in exactly these words, by one write, and ends the process by SIGABRT: in
# programs linked with libquarry-core.a and in programs that libquarry.so is preloaded into. The bugs are in bugs.c.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

bugs=$QUARRY_SOURCE/tests/bugs
compile() {
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@" -pthread -ldl ||
		bail "can't compile $*"
}
compile "$bugs/verdict.c" -o "$scratch/verdict"
compile "$bugs/bugs.c" -o "$scratch/preloaded"
compile -DCORE "$bugs/bugs.c" "$QUARRY_BUILD/libquarry-core.a" -o "$scratch/core"
unset QUARRY_OPTIONS

# run MODE ROW CALL: what the program said and how it ended
run() {
	local preload=
	[ "$1" = core ] || preload=$QUARRY_SO
	VERDICT_PRELOAD=$preload timeout 60 "$scratch/verdict" "$scratch/$1" "${@:2}"
}

double_free="double free: the block is free already (freed before, or never handed out)|double-free"
freed_memory="pointer to freed memory: its block was freed before, or never handed out|freed-memory"
interior="pointer to the inside of a block, not to its start|interior-pointer"
never="pointer that was never handed out|never-allocated"
no_block="pointer that no block starts at or contains|not-a-block"
metadata="pointer to Quarry's own metadata|metadata-pointer"
stack="pointer to this thread's stack|stack-pointer"
object="pointer to a program's or library's own data or code|object-pointer"
foreign="pointer to memory that no allocator of this process is known to own|foreign-pointer"
small="112 bytes, small"
large="1003520 bytes (980 KiB), large"
behind="the pointer is"

# ROW "TITLE|SECTION" BLOCK_LINE
table=(
	at_once "$double_free" "$small, free"
	at_once_medium "$double_free" "20544 bytes (20 KiB), small, free"
	at_once_large "$freed_memory" ""
	aligned "$double_free" "4096 bytes (4 KiB), small, free"
	later "$double_free" "$small, free"
	other_thread "$double_free" "$small, free"
	other_thread_large "$freed_memory" ""
	page_given_back "$double_free" "$small, free"
	slab_given_back "$freed_memory" ""
	large_given_back "$freed_memory" ""
	owner_freed "$double_free" "$small, free"
	owner_lives "$double_free" "$small, free"
	owner_exited "$double_free" "$small, free"
	owner_shared "$double_free" "$small, free"
	fork_freed_before "$double_free" "$small, free"
	fork_freed_in_child "$double_free" "$small, free"
	fork_owner_lost "$double_free" "$small, free"
	fork_lost_owner_freed "$double_free" "$small, free"
	interior_small "$interior" "$small, live; $behind 16 bytes behind its start"
	interior_odd "$interior" "$small, live; $behind 8 bytes behind its start"
	interior_large "$interior" "$large, live; $behind 16 bytes behind its start"
	interior_large_far "$interior" "$large, live; $behind 900000 bytes behind its start"
	fresh "$never" "$small, free, never handed out"
	tail "$no_block" ""
	colour "$no_block" ""
	unused_unit "$freed_memory" ""
	reserved "$never" ""
	page_map "$metadata" ""
	headers "$metadata" ""
	stack "$stack" ""
	stack_thread "$stack" ""
	global "$object" ""
	constant "$object" ""
	code "$object" ""
	libc_code "$object" ""
)

# expected FUNCTION "TITLE|SECTION" BLOCK_LINE: the whole verdict
expected() {
	echo "ended: signal 6"
	echo "writes: 1"
	echo "quarry: $1(PTR): ${2%|*}"
	[ -z "$3" ] || echo "  block    PTR to PTR, $3"
	echo "  thread   TID (NAME)"
	echo "  next     run the program with: quarry run --guard -- PROGRAM ARGUMENTS"
	echo "  meaning  doc/errors.md#${2#*|}"
}

# function_of CALL MODE: the name that a report gives.
function_of() {
	case $2-$1 in
	preloaded-usable) echo malloc_usable_size ;;
	preloaded-*) echo "$1" ;;
	core-usable) echo quarry_usable_size ;;
	*) echo "quarry_$1" ;;
	esac
}

# Row 0: a program that only aborts is no report.
is "$(run core abort free)" $'ended: signal 6\nwrites: 0' "abort() alone is told apart from a report"

listed=$(for ((i = 0; i < ${#table[@]}; i += 3)); do echo "${table[i]}"; done | sort)
is "$("$scratch/core" | grep -vxE 'abort|good|libc_block' | sort)" "$listed" "every row of bugs.c is in this table"

for mode in core preloaded; do
	for ((i = 0; i < ${#table[@]}; i += 3)); do
		for call in free realloc usable; do
			is "$(run $mode "${table[i]}" $call)" \
			   "$(expected "$(function_of $call $mode)" "${table[i + 1]}" "${table[i + 2]}")" \
			   "$mode: $call: ${table[i]}"
		done
	done
done

# A block of the C library's: nobody to forward it to in the core; forwarded, ignored or reported when preloaded.
for call in free realloc usable; do
	report=$(expected "$(function_of $call preloaded)" "$foreign" "")
	core_report=$(expected "$(function_of $call core)" "$foreign" "")
	is "$(run core libc_block $call)" "$core_report" "core: $call of libc's block"
	is "$(run preloaded libc_block $call)" $'ended: exit 0\nwrites: 0' "preloaded: $call of libc's block goes to libc"
	is "$(QUARRY_OPTIONS=foreign=abort run preloaded libc_block $call)" "$report" "foreign=abort: $call of libc's block"
	is "$(QUARRY_OPTIONS=foreign=abort run core libc_block $call)" "$core_report" "core, foreign=abort: $call"
done
for mode in core preloaded; do
	export QUARRY_OPTIONS=foreign=ignore
	for row in libc_block stack global code; do
		is "$(run $mode $row free)" $'ended: exit 0\nwrites: 0' "$mode: foreign=ignore: free does nothing: $row"
		is "$(run $mode $row realloc | sort)" $'ended: exit 2\nrealloc gave NULL and ENOMEM\nwrites: 0' \
		   "$mode: foreign=ignore: realloc fails: $row"
		is "$(run $mode $row usable | sort)" $'ended: exit 2\nmalloc_usable_size gave 0\nwrites: 0' \
		   "$mode: foreign=ignore: malloc_usable_size is 0: $row"
	done
	is "$(run $mode at_once free)" "$(expected "$(function_of free $mode)" "$double_free" "$small, free")" \
	   "$mode: foreign=ignore: a double free is reported all the same"
	unset QUARRY_OPTIONS

	is "$(run $mode at_once free close-stderr)" $'ended: signal 6\nwrites: 0' \
	   "$mode: with standard error closed it ends in the same way, in silence"
	is "$(run $mode good free)" $'ended: exit 0\nwrites: 0' "$mode: no alarm about a good program"
done

done_testing

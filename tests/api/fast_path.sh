#!/usr/bin/env bash
# What malloc and free of a small block cost when the magazine serves them, in instructions, counted in libquarry.so:
# the path from the entry to `ret` on which no branch to the slow part is taken. The counts must equal those checked in
# (fast_path.expected), so that a slower path is seen; the bounds are what Quarry promises.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

expected=$QUARRY_SOURCE/tests/api/fast_path.expected
: "${OBJDUMP:=objdump}"
command -v "$OBJDUMP" >/dev/null || skip_all "no objdump"
[[ $($READELF -h "$QUARRY_SO") == *X86-64* ]] || skip_all "the counts are those of x86-64"
[[ $($READELF -p .comment "$QUARRY_SO") == *GCC:* && $($READELF -p .comment "$QUARRY_SO") != *clang* ]] ||
	skip_all "the counts are gcc's"
if [ -e "$QUARRY_BUILD/config.status" ]; then
	flags=$(sed -n 's/^S\["\(CFLAGS\|QUARRY_CPPFLAGS\)"\]=//p' "$QUARRY_BUILD/config.status")
	[[ $flags == *-O2* ]] || skip_all "the counts are those of -O2"
	[[ $flags != *QUARRY_DEBUG* ]] || skip_all "a debug build"
fi

# count FUNCTION: what stands between its entry and its first `ret`. No conditional jump is taken: the compiler puts what
# is unlikely elsewhere. A fast path that jumps on doesn't end in `ret`, and is not let through.
count() {
	"$OBJDUMP" -d --no-show-raw-insn --disassemble="$1" "$QUARRY_SO" | awk '
		/^[0-9a-f]+ <.*>:$/ { inside = 1; next }
		!inside || ended { next }
		NF < 2 { next }
		{
			operation = $2
			if (operation == "lock" || operation == "rep" || operation == "bnd") {
				locks += operation == "lock"
				operation = $3
			}
			if (operation ~ /^(nop|endbr64|data16|cs)/) next
			instructions++
			operands = $0
			sub(/#.*/, "", operands)
			sub(/<.*/, "", operands)
			if (operation ~ /^call/) calls++
			if (operation ~ /^(push|pop)/) pushes++
			if (operation ~ /^xchg/ && operands ~ /\(/) locks++
			if (operation ~ /^j/ && operation != "jmp") jumps++
			if (operation == "jmp") { tail_jump = 1; ended = 1 }
			if (operation ~ /^ret/) { returned = 1; ended = 1 }
			if (operands ~ /\(|%fs:/ && operation !~ /^(lea|nop|call|j)/) {
				# AT&T: the last operand is written, unless it is only compared.
				written = operands ~ /(\)|%fs:[^,]*)[ \t]*$/
				if (written && operation !~ /^(cmp|test|mul|push)/) stores++
				if (!written || operation ~ /^(cmp|test|mul|add|sub|and|or|xor|inc|dec)/) loads++
			}
		}
		END {
			printf "instructions %d\ncalls %d\npushes %d\nlocks %d\nloads %d\nstores %d\njumps %d\nends %s\n",
				instructions, calls, pushes, locks, loads, stores, jumps,
				returned ? "ret" : tail_jump ? "jmp" : "nowhere"
		}'
}

# value FUNCTION COUNTER of what is in $counted
value() {
	sed -n "s/^$1 $2 //p" <<<"$counted"
}

counted=$(for function in malloc free; do count $function | sed "s/^/$function /"; done)
compiler=$($READELF -p .comment "$QUARRY_SO" | sed -n 's/.*GCC: ([^)]*) \([0-9]*\)\..*/gcc \1/p' | head -n 1)
if grep -qx "# $compiler" "$expected"; then
	is "$counted" "$(grep -v '^#' "$expected")" "the fast paths are as they were checked in"
else
	skip "the fast paths are as they were checked in" "the table is not of $compiler"
fi
for function in malloc:20 free:36; do
	most=${function#*:}
	function=${function%:*}
	ok "$function: at most $most instructions" test "$(value "$function" instructions)" -le "$most"
	ok "$function: at least 10 were seen" test "$(value "$function" instructions)" -ge 10
	is "$(value "$function" calls)" 0 "$function: no call"
	is "$(value "$function" pushes)" 0 "$function: nothing is saved on the stack"
	is "$(value "$function" locks)" 0 "$function: no locked instruction"
	is "$(value "$function" ends)" ret "$function: ends by ret"
done
done_testing

#!/usr/bin/env bash
# Guard mode under preload: what programs see of it, that those without mistakes see nothing else, and the filters.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/preload
unset QUARRY_OPTIONS
ulimit -c 0

# shellcheck disable=SC2086 # $CC may carry flags
compile() { $CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$@" -pthread -ldl; }
compile "$folder/guard.c" -o "$scratch/guard" || bail "can't compile guard.c"
echo '#include <stdlib.h>
char *make(size_t size) { char *block = malloc(size); __asm__("" : "+r"(block)); return block; }' >"$scratch/module.c"
compile -fPIC -shared "$scratch/module.c" -o "$scratch/libmodule.so.1" || bail "can't compile a library"

# with OPTIONS WHAT: what the program says in guard mode, and on which status it ended if not 0.
with() {
	local status=0
	timeout 300 env QUARRY_OPTIONS="guard=on${1:+,$1}" LD_PRELOAD="$QUARRY_SO" "$scratch/guard" "$2" 2>&1 || status=$?
	[ "$status" = 0 ] || echo "status $status"
}
guards=false
if "$QUARRY_BUILD/tests/os/memory_test" 2>/dev/null | grep -q '^ok .*test_guards$'; then guards=true; fi

# ---- What programs see

for options in "" guard_with=protection guard_quarantine=100K guard_with=protection,guard_quarantine=0; do
	is "$(with "$options" forms)" good "guards around what each function makes, none around what is freed${options:+ ($options)}"
done
is "$(with "" told)" good "walk, describe and statistics know guarded blocks"
for options in "" guard_with=protection guard_with=checks guard_place=before guard_place=random guard_quarantine=1M; do
	is "$(with "$options" threads)" good "threads${options:+ ($options)}"
	few=
	[[ $options != *protection* ]] || few=FEW_GUARDS=1
	[[ $options == *@(checks|place|quarantine)* ]] || is "$([ -z "$few" ] || export "$few"; with "$options" forks | grep -v "guards are made")" good "forks${options:+ ($options)}"
done
if $guards; then
	is "$(with "" many)" good "100,000 live blocks and no more mappings"
else
	skip "many blocks" "this kernel has no guard markers"
fi
is "$(with "" locked | grep -v "the system refuses a guard")" good "memory that is locked"
for options in "" guard_with=protection guard_quarantine=100K; do
	is "$(with "$options" sandboxed)" good "a sandbox that kills for what is not on a short list${options:+ ($options)}"
done
is "$(ulimit -v 4000000 && with "" threads)" good "little address space"

# ---- Which blocks are guarded

export MODULE=$scratch/libmodule.so.1
is "$(with guard_module=libmodule.so module)" $'program not guarded, library guarded\ngood' "guard_module: a library"
is "$(with guard_module=guard module)" $'program guarded, library not guarded\ngood' "guard_module: the program"
is "$(with guard_module=other module)" $'program not guarded, library not guarded\ngood' "guard_module: another one"
is "$(with guard_sizes=1000-1M unguarded)" good "guard_sizes; what is not guarded is as ever"
is "$(with guard_every=7 threads)" good "guard_every"
is "$(with guard_limit=100K threads)" $'quarry: guard: guard_limit is reached: further blocks are not guarded\ngood' "guard_limit"

# ---- Mistakes

like "$(with "" double_free)" '^quarry: free\(.*: double free.*status 134' "a double free"
like "$(with "" overflow)" '^quarry: free\(.*: bytes behind the block.*offset 100.*status 134' "an overflow, found by free"
like "$(with "" overflow_at_exit)" '^quarry: exit\(.*: bytes behind the block.*offset 103.*status 134' "an overflow, found at the end"
like "$(with "" realloc_freed)" '^quarry: realloc\(.*: double free.*status 134' "realloc of a freed block"
for what in use_after_realloc touch_behind; do
	like "$(with "" $what)" 'status (139|134)$' "$what faults"
done
like "$(with guard_with=checks touch_behind)" '^quarry: exit\(.*: bytes behind the block.*offset 32.*status 134' \
     "without guards nothing faults, and the end finds it"

# ---- C++

if command -v "${CXX%% *}" >/dev/null; then
	for own in "" -DOWN_NEW; do
		# shellcheck disable=SC2086 # $CXX may carry flags
		$CXX -std=c++17 -O1 -w -fsized-deallocation $own "$folder/guard_forms.cc" -o "$scratch/forms$own" ||
			bail "can't compile guard_forms.cc"
		for options in "" ,guard_align=1; do
			is "$(QUARRY_OPTIONS="guard=on$options" LD_PRELOAD="$QUARRY_SO" "$scratch/forms$own" 2>&1)" good \
			   "each form of new with its delete${own:+, in a program with its own}${options:+ ($options)}"
		done
	done
	mistake() {
		like "$(QUARRY_OPTIONS=guard=on LD_PRELOAD="$QUARRY_SO" "$scratch/forms" "$1" 2>&1 || true)" "$2" "$3"
	}
	mistake f '^quarry: free\(.*mismatched forms: .*made by operator new, given to free' "new and free"
	mistake d '^quarry: operator delete\(.*mismatched forms: .*made by malloc, given to operator delete' "malloc and delete"
	mistake a '^quarry: operator delete\(.*mismatched forms: .*made by operator new\[\], given to operator delete' "new[] and delete"
	mistake s '^quarry: operator delete\(.*another size.*16 given back' "sized delete with a wrong size"
else
	skip "C++'s forms" "no C++ compiler"
fi

# ---- Whole programs say what they say without it

said_besides='^quarry: guard: [0-9]* guards are made'
same() {
	local name=$1 options
	shift
	for options in "" ,guard_with=protection; do
		same_with "guard=on$options" "$name${options:+ ($options)}" "$@"
	done
}
export PYTHONMALLOC=malloc
same python3 python3 -c 'print(sum(len(str(i)) for i in range(20000)), sorted({str(i): i for i in range(5000)})[:9])'
same sqlite3 sqlite3 :memory: "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000)
	insert into t select x, hex(x * 7) from c; create index i on t(b); select count(*), sum(length(b)) from t order by b;"
# shellcheck disable=SC2016 # for perl
same perl perl -e 'my %h; $h{$_} = "x$_" for 1 .. 10000; print join(",", (sort keys %h)[0 .. 9]), scalar(%h), "\n"'
same git git -C "$scratch" init -q --bare repository
echo 'int main(void) { return 0; }' >"$scratch/small.c"
same gcc gcc -O2 -S -o - "$scratch/small.c"
same bash bash -c 'for i in {1..500}; do a[i]=$i$i; done; echo "${a[*]}"'
done_testing

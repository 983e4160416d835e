#!/usr/bin/env bash
# Every kind of mistake under guard mode: its kind, the access, where it lies in or around which block, which functions of
# the program did it, freed and allocated the block, and how the process ends; in the text and in the JSON, for each place
# of the block against its guard. The mistakes are in bugs.c and bugs.cc.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

folder=$QUARRY_SOURCE/tests/guard
unset QUARRY_OPTIONS
ulimit -c 0
flags=(-g -O1 -fno-builtin -fno-optimize-sibling-calls -w -rdynamic)
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE "${flags[@]}" "$folder/bugs.c" -o "$scratch/bugs" -pthread || bail "can't compile bugs.c"
forms=false
if command -v "${CXX%% *}" >/dev/null; then
	# shellcheck disable=SC2086 # $CXX may carry flags
	$CXX -std=c++17 -fsized-deallocation "${flags[@]}" "$folder/bugs.cc" -o "$scratch/forms" || bail "can't compile bugs.cc"
	forms=true
fi
python=$(command -v python3 || true)
cd "$scratch" || bail "no scratch directory"

# ---- What is expected: STATUS KIND ACTION PLACE at CHANGED: BLOCK frees SINCE; HERE@THREAD; freed HERE; allocated HERE
#
# % is the row's name. Two functions of each stack, innermost first. =: as by default; -: not run.

silent="0 no report"
live="live 100 malloc"
gone="freed 100 malloc frees 0"
long_gone="freed 100 malloc frees 1000"
by_main="row_%@bugs; allocated make<row_%"
found="134 overflow free behind 0 at 100: $live; drop<$by_main"
at_once="139 overflow write 1 behind 0: $live; write_byte<$by_main"
after="freed drop<row_%; allocated make<row_%"

# ROW DEFAULT guard_align=1 guard_place=before
table=(
	abort "134 no report" = =
	good "$silent" = =
	write_1 "$found" "$at_once" =
	read_1 "$silent" "139 overflow read 1 behind 0: $live; read_byte<$by_main" =
	write_8 "$found" "139 overflow write 8 behind 0: $live; write_word<$by_main" =
	read_8 "$silent" "139 overflow read 8 behind 0: $live; read_word<$by_main" =
	write_last "134 overflow free behind 11 at 111: $live; drop<$by_main"
		"139 overflow write 1 behind 11: $live; write_byte<$by_main" =
	write_guard "139 overflow write 1 behind 12: $live; write_byte<$by_main" =
		"134 overflow free behind 12 at 112: $live; drop<$by_main"
	read_guard "139 overflow read 1 behind 12: $live; read_byte<$by_main" = "$silent"
	write_page "139 overflow write 1 behind 4095: $live; write_byte<$by_main" = =
	read_page "139 overflow read 1 behind 4095: $live; read_byte<$by_main" = =
	write_before "134 underflow free before 1 at -1: $live; drop<$by_main" =
		"139 underflow write 1 before 1: $live; write_byte<$by_main"
	read_before "$silent" = "139 underflow read 1 before 1: $live; read_byte<$by_main"
	write_before_8 "134 underflow free before 8 at -8: $live; drop<$by_main" =
		"139 underflow write 8 before 8: $live; write_word<$by_main"
	write_far_before "139 underflow write 1 before 4000: $live; write_byte<$by_main" = =
	read_far_before "139 underflow read 1 before 4000: $live; read_byte<$by_main" = =
	between_before "139 underflow read 1 before 4000: $live; read_byte<$by_main" = -
	between_behind "139 overflow read 1 behind 40: $live; read_byte<$by_main" = "$silent"
	large "139 overflow write 1 behind 0: live 1000000 malloc; write_byte<$by_main" =
		"134 overflow free behind 0 at 1000000: live 1000000 malloc; drop<$by_main"
	nothing "134 overflow free inside 0 at 0: live 0 malloc; drop<$by_main" = =
	aligned "134 overflow free behind 0 at 100: live 100 memalign; drop<row_%@bugs; allocated make_aligned<row_%" = =
	zeroed "134 overflow free behind 0 at 100: $live; drop<row_%@bugs; allocated make_zeroed<row_%"
		"139 overflow write 1 behind 0: $live; write_byte<row_%@bugs; allocated make_zeroed<row_%" =
	memcpy "139 overflow write N behind 12: $live; copy<$by_main" "139 overflow write N behind 0: $live; copy<$by_main" "$found"
	strcpy "139 overflow write N behind 12: $live; copy_string<$by_main"
		"139 overflow write N behind 0: $live; copy_string<$by_main" "$found"
	strcpy_1 "$found" "139 overflow write N behind 0: $live; copy_string<$by_main" =
	read_short "$found, EFAULT" "$silent, EFAULT" "$found, 200 bytes"
	read_freed "$silent, EFAULT" = =
	freed_read "139 use-after-free read 1 inside 40: $gone; read_byte<row_%@bugs; $after" = =
	freed_write "139 use-after-free write 1 inside 40: $gone; write_byte<row_%@bugs; $after" = =
	freed_read_word "139 use-after-free read 8 inside 8: $gone; read_word<row_%@bugs; $after" = =
	freed_large_read "139 use-after-free read 1 inside 500000: freed 1000000 malloc frees 0; read_byte<row_%@bugs; $after" = =
	freed_read_later "139 use-after-free read 1 inside 40: ${long_gone}000; read_byte<row_%@bugs; $after" - -
	freed_write_later "139 use-after-free write 1 inside 0: ${long_gone}000; write_byte<row_%@bugs; $after" - -
	double_free "134 double-free free inside 0: $gone; drop_again<row_%@bugs; $after" = =
	double_free_later "134 double-free free inside 0: $long_gone; drop_again<row_%@bugs; $after" = =
	usable_size "134 double-free malloc_usable_size inside 0: $gone; row_%<main@bugs; $after" = =
	interior "134 interior-pointer free inside 16: $live; drop<$by_main" = =
	interior_odd "134 interior-pointer free inside 1: $live; drop<$by_main" = =
	interior_large "134 interior-pointer free inside 4096: live 1000000 malloc; drop<$by_main" = =
	interior_freed "134 interior-pointer free inside 16: $gone; drop_again<row_%@bugs; $after" = =
	behind "134 not-a-block free behind 12: $live; drop<$by_main" = =
	never "134 not-a-block free; drop<row_%@bugs" = =
	stack "134 stack-pointer free; drop<row_%@bugs" = =
	global "134 object-pointer free; drop<row_%@bugs" = =
	code "134 object-pointer free; drop<row_%@bugs" = =
	mapped "134 foreign-pointer free; drop<row_%@bugs" = =
	mapped_realloc "134 foreign-pointer realloc; grow<row_%@bugs" = =
	realloc_freed "134 double-free realloc inside 0: $gone; grow<row_%@bugs; $after" = =
	realloc_interior "134 interior-pointer realloc inside 8: $live; grow<$by_main" = =
	realloc_stale "139 use-after-free read 1 inside 10: $gone; read_byte<row_%@bugs; freed grow<row_%; allocated make<row_%" = =
	realloc_stale_free "134 double-free free inside 0: $gone; drop<row_%@bugs; freed grow<row_%; allocated make<row_%" = =
	realloc_zero "134 double-free free inside 0: $gone; drop<row_%@bugs; freed grow<row_%; allocated make<row_%" = =
	realloc_shrunk "134 overflow free behind 0 at 50: live 50 malloc; drop<row_%@bugs; allocated grow<row_%"
		"139 overflow write 1 behind 0: live 50 malloc; write_byte<row_%@bugs; allocated grow<row_%" =
	realloc_overflown "134 overflow realloc behind 0 at 100: $live; grow<$by_main" "$at_once" =
	thread_write "139 use-after-free write 1 inside 40: $gone; write_byte<thread_main@worker; $after" = =
	thread_free "134 double-free free inside 0: $gone; drop_again<thread_main@worker; $after" = =
	handler_write "139 use-after-free write 1 inside 40: $gone; write_byte<on_signal@bugs; $after" = =
	handler_free "134 double-free free inside 0: $gone; drop_again<on_signal_free@bugs; $after" = =
	handler_own_stack "139 use-after-free write 1 inside 40: $gone; write_byte<on_signal@bugs; $after" = =
	fork_write "139 use-after-free write 1 inside 40: $gone; write_byte<child_write@bugs; $after" = =
	fork_free "134 double-free free inside 0: $gone; drop_again<child_free@bugs; $after" = =
	fork_overflow "134 overflow free behind 0 at 100: $live; drop<child_overflow@bugs; allocated make<row_%"
		"139 overflow write 1 behind 0: $live; write_byte<child_overflow@bugs; allocated make<row_%" =
	exit_read "139 use-after-free read 1 inside 0: $gone; read_byte<at_exit@bugs; $after" = =
	exit_overflow "134 overflow exit behind 3 at 103: $live; row_%<main@bugs; allocated make<row_%"
		"139 overflow write 1 behind 3: $live; write_byte<$by_main" =
	exit_underflow "134 underflow exit before 5 at -5: $live; row_%<main@bugs; allocated make<row_%" =
		"139 underflow write 1 before 5: $live; write_byte<$by_main"
)

mismatched() { echo "134 mismatched-forms $2 inside 0: live $3; $1<main@forms; allocated $4<main"; }
forms_table=(
	good "$silent" = =
	new_free "$(mismatched drop_free free "4 operator new" make_new)" = =
	new_realloc "$(mismatched grow realloc "4 operator new" make_new)" = =
	array_free "$(mismatched drop_free free "100 operator new[]" make_array)" = =
	array_delete "$(mismatched drop_delete "operator delete" "100 operator new[]" make_array)" = =
	new_delete_array "$(mismatched drop_array "operator delete[]" "4 operator new" make_new)" = =
	malloc_delete "$(mismatched drop_delete "operator delete" "100 malloc" make_malloc)" = =
	malloc_delete_array "$(mismatched drop_array "operator delete[]" "100 malloc" make_malloc)" = =
	aligned_free "$(mismatched drop_free free "64 aligned operator new" make_wide)" = =
	wrong_size "134 wrong-size operator delete inside 0: live 100 operator new; drop_sized<main@forms; allocated make_derived<main" = =
	wrong_size_base "134 wrong-size operator delete inside 0: live 100 operator new; drop_base<main@forms; allocated make_derived<main" = =
	alignment_unsaid
		"134 wrong-alignment operator delete inside 0: live 64 aligned operator new; drop_delete<main@forms; allocated make_wide<main" = =
	wrong_alignment
		"134 wrong-alignment operator delete inside 0: live 64 aligned operator new; drop_aligned<main@forms; allocated make_wide<main" = =
	double_delete
		"134 double-free operator delete inside 0: freed 4 operator new frees 0; drop_delete<main@forms; freed drop_delete<main; allocated make_new<main" = =
	iterator
		"139 use-after-free read 4 inside 20: freed 100 operator new frees 0; read_int<main@forms; freed main<_start; allocated main<_start" = =
	index "139 overflow read 4 behind 12: live 100 operator new[]; read_int<main@forms; allocated main<_start" = "$silent"
)

# ---- Runs, two at a time: the texts, then what they say

variants=("" ,guard_align=1 ,guard_place=before)

# one PROGRAM ROW VARIANT FORMAT: leaves PROGRAM.ROW.VARIANT.FORMAT{,.status,.out}
cat >one.sh <<-'END'
	name=$1.$2.$3.$4
	QUARRY_OPTIONS="guard=on,report_format=$4$3" LD_PRELOAD=$QUARRY_SO timeout 300 "./$1" "$2" 2>"$name" >"$name.out"
	echo "$?" >"$name.status"
END

# check PROGRAM TABLE...: all rows in all variants
check() {
	local program=$1 row column expected format got formats="text${python:+ json}"
	local -a runs=() rows
	shift
	rows=("$@")
	for ((row = 0; row < ${#rows[@]}; row += 4)); do
		for column in 0 1 2; do
			[ "${rows[row + 1 + column]}" = - ] && continue
			for format in $formats; do
				runs+=("$program" "${rows[row]}" "${variants[column]}" "$format")
			done
		done
	done
	printf '%s\0' "${runs[@]}" | xargs -0 -n 4 -P 2 bash one.sh 2>/dev/null
	local -a names=() expectations=() titles=()
	for ((row = 0; row < ${#rows[@]}; row += 4)); do
		for column in 0 1 2; do
			expected=${rows[row + 1 + column]}
			[ "$expected" = - ] && continue
			[ "$expected" = = ] && expected=${rows[row + 1]}
			names+=("$program.${rows[row]}.${variants[column]}")
			expectations+=("${expected//%/${rows[row]}}")
			titles+=("${rows[row]}${variants[column]:+ (${variants[column]#,})}")
		done
	done
	for format in $formats; do
		local -a said
		if [ "$format" = text ]; then
			mapfile -t said < <(for name in "${names[@]}"; do
				awk -v program="$program" -f "$folder/summary.awk" "$name.text"
			done)
		else
			mapfile -t said < <("$python" "$folder/summary.py" "$program" "${names[@]/%/.json}")
		fi
		for ((i = 0; i < ${#names[@]}; i++)); do
			got="$(<"${names[i]}.$format.status") ${said[i]}"
			[ -s "${names[i]}.$format.out" ] && got+=", $(<"${names[i]}.$format.out")"
			# How the C library copies is the processor's matter.
			[[ ${expectations[i]} != *" write N "* ]] ||
				got=$(sed -E 's/ write( [0-9]+)? (behind|inside|before)/ write N \2/' <<<"$got")
			is "$got" "${expectations[i]}" "$program, $format: ${titles[i]}" || diag "$(head -c 1000 "${names[i]}.$format")"
		done
	done
}

is "$(./bugs | sort)" "$(for ((i = 0; i < ${#table[@]}; i += 4)); do echo "${table[i]}"; done | sort)" "every row of bugs.c is in this table"
check bugs "${table[@]}"
[ -n "$python" ] || skip "JSON" "no python3"
if $forms; then
	is "$(./forms | sort)" "$(for ((i = 0; i < ${#forms_table[@]}; i += 4)); do echo "${forms_table[i]}"; done | sort)" \
	   "every row of bugs.cc is in this table"
	check forms "${forms_table[@]}"
else
	skip "C++'s forms" "no C++ compiler"
fi

# ---- What is said besides

between=$(<bugs.between_before..text)
like "$between" "  below    0x[0-9a-f]+ to 0x[0-9a-f]+, 24 bytes, from malloc, live, ends 4[0-9]{3} bytes before; " "the neighbour below"
like "$between" "  above    0x[0-9a-f]+ to 0x[0-9a-f]+, 48 bytes, from malloc, live, begins " "the neighbour above"
unlike "$(<bugs.write_guard..text)" "  (below|above) .* 100 bytes" "a block is not its own neighbour"
like "$(<bugs.freed_read..text)" "contents when it was freed, the first 64 bytes
    0x[0-9a-f]+  (78 ){16} \|x{16}\|" "what the block held"
like "$(<bugs.write_1..text)" ">01 d7 d7 d7 d7 d7 d7 d7 d7 d7 d7 d7 " "what stands behind it"
like "$(<bugs.handler_own_stack..text)" "on_signal\+.*row_handler_own_stack\+.*main\+.*  freed by" "through a handler's stack to main"

# What could not be guarded is found later, by the same words.
for with in protection checks; do
	QUARRY_OPTIONS=guard=on,guard_with=$with LD_PRELOAD=$QUARRY_SO timeout 60 ./bugs write_1 2>text
	is "$? $(awk -v program=bugs -f "$folder/summary.awk" text)" "${found//%/write_1}" "guard_with=$with: an overflow"
	QUARRY_OPTIONS=guard=on,guard_with=$with LD_PRELOAD=$QUARRY_SO timeout 60 ./bugs double_free 2>text
	like "$? $(awk -v program=bugs -f "$folder/summary.awk" text)" "^134 double-free free inside 0: $gone; drop_again<row_double_free@bugs; " \
	     "guard_with=$with: a double free"
done
done_testing

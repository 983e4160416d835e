#!/usr/bin/env bash
# The C library's malloc functions behave the same with Quarry as without (table.c), and those that inform or act on the
# whole heap tell the truth (truths.c).
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

surface=$QUARRY_SOURCE/tests/surface
for program in table truths; do
	# shellcheck disable=SC2086 # $CC may carry flags
	$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w -I"$QUARRY_SOURCE/include" "$surface/$program.c" \
		-o "$scratch/$program" -ldl || bail "can't compile $program.c"
done
unset QUARRY_OPTIONS
preloaded() {
	LD_PRELOAD=$QUARRY_SO timeout 300 "$@"
}

"$scratch/table" >"$scratch/plain" || bail "the table does not end well in the C library"
ok "the table has its lines" test "$(wc -l <"$scratch/plain")" -gt 500
preloaded "$scratch/table" >"$scratch/quarry" 2>&1
is "$?" 0 "with Quarry the table ends well"
is "$(diff "$scratch/plain" "$scratch/quarry")" "" "Quarry answers as the C library does"

truths=$(preloaded "$scratch/truths" 2>&1)
is "$?" 0 "truths: exit status"
like "$truths" '1\.\.[0-9]+$' "truths: all were checked"
while IFS= read -r line; do
	case $line in
	"ok "*) pass "${line#* - }" ;;
	"not ok "*) not_ok "${line#* - }" ;;
	1..*) ;;
	*) diag "$line" ;;
	esac
done <<<"$truths"

preloaded "$scratch/truths" info >"$scratch/info.xml" 2>"$scratch/errors"
is "$?$(cat "$scratch/errors")" 0 "malloc_info: exit status"
if python=$(command -v python3); then
	is "$("$python" -c 'import sys, xml.etree.ElementTree as tree; print(tree.parse(sys.argv[1]).getroot().tag)' \
		"$scratch/info.xml" 2>&1)" malloc "malloc_info writes well-formed XML"
else
	skip "malloc_info writes well-formed XML" "no python3"
fi
preloaded "$scratch/truths" stats >"$scratch/output" 2>"$scratch/errors"
is "$(cat "$scratch/output")" "" "malloc_stats: nothing on standard output"
like "$(cat "$scratch/errors")" "^quarry: statistics of version .*live .* in [1-9][0-9]* blocks" "malloc_stats prints"
is "$(grep -vc '^quarry: ' "$scratch/errors")" 0 "malloc_stats: each line says who speaks"

done_testing

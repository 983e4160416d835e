#!/usr/bin/env bash
# `quarry symbolize` and `quarry run --guard` put functions, lines and inlined calls into reports: of symbols.c, whose
# comments say which line is which.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

source=$QUARRY_SOURCE/tests/guard/symbols.c
quarry=$QUARRY_BUILD/quarry
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -g -O2 -w "$source" -o "$scratch/program" || bail "can't compile symbols.c"
cd "$scratch" || bail "no scratch directory"
unset QUARRY_OPTIONS
ulimit -c 0

line() {
	grep -n "/\* $1 \*/" "$source" | cut -d: -f1
}

# The program's own frames of the stack under a line of the report: "FUNCTION LINE" each, from the inside.
frames() {
	sed -n "/^  $1/,/^  [a-z]/p" "$2" | sed -n 's/^    #[0-9]* 0x[0-9a-f]* \([a-z_]*\) at .*symbols\.c:\([0-9]*\).*/\1 \2/p' |
		head -n "$3"
}

LD_PRELOAD=$QUARRY_SO QUARRY_OPTIONS=guard=on timeout 60 ./program 2>raw
is "$?" 139 "the program ends by the fault"
like "$(head -n 2 raw)" "^quarry: read of 4 bytes at 0x[0-9a-f]+: use after free: memory of a freed block was accessed
  where    40 bytes inside a freed block of 44 bytes$" "what was done, and where"
like "$(cat raw)" "/program\+0x[0-9a-f]+\)" "by itself it names program and offset"
like "$(cat raw)" "__libc_start_main\+0x[0-9a-f]+ \(/" "and what the dynamic symbols know"
like "$(cat raw)" "module   $scratch/program 0x.* build-id [0-9a-f]{40}" "and the build id"
like "$(cat raw)" "\|a name to be see\|" "what the block held"

if ! pkg-config --exists libdw 2>/dev/null; then
	skip "names and lines" "no libdw"
	done_testing
	exit
fi

"$quarry" symbolize raw >named
is "$?" 0 "symbolize: exit status"
is "$(frames accessed named 2)" "item_touch $(line touch)
item_use $(line use)" "the access: an inlined function, and the one that it is inlined into"
like "$(grep -m1 item_touch named)" '\(inlined\)$' "which is said"
is "$(frames freed named 1)" "item_drop $(line drop)" "the free"
is "$(frames allocated named 1)" "item_make $(line make)" "the allocation"
is "$(frames allocated named 2 | tail -n 1 | cut -d' ' -f1)" "main" "and who called it"
is "$(grep -v '^    #' named)" "$(grep -v '^    #' raw)" "the rest is as it was"
is "$("$quarry" symbolize <raw)" "$(cat named)" "from standard input"
is "$(printf 'a line\nquarry: something else\n  no report\n' | "$quarry" symbolize)" "a line
quarry: something else
  no report" "what is no report is passed on"
is "$({ echo before; cat raw; echo after; cat raw; } | "$quarry" symbolize | grep -v '^ ')" "before
$(head -n 1 raw)
after
$(head -n 1 raw)" "several reports, and what stands between them"

# The lines are found where debug files are kept apart, by the debug link.
if command -v objcopy >/dev/null; then
	cp program whole
	objcopy --only-keep-debug program program.debug
	objcopy --strip-debug --add-gnu-debuglink=program.debug program
	is "$("$quarry" symbolize raw | grep -v '^    #.*ld-linux')" "$(grep -v '^    #.*ld-linux' named)" \
		"with a separate debug file"
	cp whole program
fi

# Another program in its place is not taken for it.
echo 'int main(void) { return 0; }' | $CC -g -x c - -o program
other=$("$quarry" symbolize raw)
like "$other" "program has changed since: its build id is another" "a file that has changed is not used"
unlike "$other" "item_drop" "and its lines are not believed"
mv whole program

LD_PRELOAD=$QUARRY_SO QUARRY_OPTIONS=guard=on,report_format=json timeout 60 ./program 2>raw.json
"$quarry" symbolize raw.json >named.json
if python=$(command -v python3); then
	is "$("$python" - "$(line touch)" "$(line use)" <<-'END' 2>&1
		import json, sys
		report = json.load(open("named.json"))
		assert report["kind"] == "use-after-free", report
		source = report["here"]["frames"][0]["source"]
		assert [s["function"] for s in source] == ["item_touch", "item_use"], source
		assert [s["line"] for s in source] == [int(a) for a in sys.argv[1:]], source
		assert [s["inlined"] for s in source] == [True, False], source
		assert report["allocated"]["frames"][0]["source"][0]["function"] == "item_make"
		before = json.load(open("raw.json"))
		for stack in "here", "freed", "allocated":
		    for frame in report[stack]["frames"]:
		        frame.pop("source", None)
		assert report == before
		print("good")
	END
	)" good "JSON: sources are added to the frames, and nothing else changes"
else
	skip "JSON" "no python3"
fi

# ---- quarry run

QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- ./program >output 2>error
is "$?" 139 "run --guard: ends as the program does"
is "$(frames accessed error 2)" "item_touch $(line touch)
item_use $(line use)" "run --guard: the report has names and lines"
is "$(grep -c '^quarry: ' error)" 1 "and comes once"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools --on-error=warn -- ./program twice >output 2>error
is "$(grep -c '^quarry: ' error)" 2 "run --guard: both reports of a program that goes on"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- ./program status >output 2>error
is "$?$(cat error)" 42 "run --guard: the program's exit status, and not a word"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools --report="$scratch/own.%p" -- ./program >output 2>error
is "$(cat error)" "" "run --guard --report: nothing on standard error"
like "$(cat own.*)" "^quarry: read of 4 bytes at " "but in the file"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- sh -c 'kill -TERM $$' 2>error
is "$?" 143 "run --guard: the program's signal"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- sh -c 'trap "exit 7" TERM; sleep 30 & wait' 2>error &
runner=$!
sleep 2
kill -TERM "$runner"
wait "$runner"
is "$?" 7 "run --guard: a signal is passed on"
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- sh -c './program & wait; true' 2>error
is "$(grep -c '^    #.*item_touch' error)" 1 "run --guard: a child's report"
# What is left running when the program has ended writes to standard error by itself.
QUARRY_LIB=$QUARRY_SO timeout 60 "$quarry" run --guard --keep-pools -- sh -c '(sleep 2; exec ./program) & true' 2>error
sleep 4
like "$(cat error)" "^quarry: read of 4 bytes at .*/program\+0x" "run --guard: who outlives the program is heard, too"
done_testing

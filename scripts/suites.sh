# shellcheck shell=bash
# What scripts/test and scripts/machines share: builds whose tests are run, and the sums of all. Sourced, after common.sh;
# sums at the end.

jobs=$(nproc)
# Tests at a time; many of them mostly wait.
check_jobs=$jobs
passed=0
failed=0
skipped=0
skips=
failures=

# report NAME PASSED FAILED SKIPPED: one progress line, added to the sums.
report() {
	printf '%-10s %4d passed, %d failed, %d skipped, %d s\n' "$1" "$2" "$3" "$4" "$((SECONDS - began))"
	passed=$((passed + $2))
	failed=$((failed + $3))
	skipped=$((skipped + $4))
}

broken() {
	failures+="$1: $2"$'\n'
	report "$1" 0 1 0
}

# Prints one "RESULT: name" line per test of a build, as automake's TAP driver left them.
results() {
	local trs

	find "$work/$1" -name '*.trs' | sort | while IFS= read -r trs; do
		grep -E '^(PASS|FAIL|XFAIL|XPASS|SKIP|ERROR): ' "${trs%.trs}.log" || true
	done
}

# make_check NAME VARIABLE=VALUE...: builds, runs the tests, adds them up.
make_check() {
	local name=$1 status=0 found good bad skip
	shift

	find "$work/$name" \( -name '*.trs' -o -name '*.log' -path '*/tests/*' \) -delete
	if ! run "$name" make -C "$work/$name" -j"$jobs" all; then
		broken "$name" "doesn't build"
		return
	fi
	# -k: one test program that doesn't compile hides no others' results.
	make -k -C "$work/$name" -j"$check_jobs" check "$@" </dev/null >>"$logs/$name.log" 2>&1 9>&- || status=$?
	found=$(results "$name")
	good=$(grep -c -E '^PASS' <<<"$found" || true)
	bad=$(grep -c -E '^(FAIL|XPASS|ERROR)' <<<"$found" || true)
	skip=$(grep -c -E '^(SKIP|XFAIL)' <<<"$found" || true)
	if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] || [ "$((good + bad))" -eq 0 ]; then
		tail -n 30 "$logs/$name.log" >&2
		failures+="$name: make check ended with status $status, see $logs/$name.log"$'\n'
		bad=$((bad + 1))
	elif [ "$bad" -ne 0 ]; then
		echo "---- the end of $work/$name/test-suite.log:" >&2
		tail -n 40 "$work/$name/test-suite.log" >&2
		echo "----" >&2
	fi
	failures+=$(sed -n -E "s/^(FAIL|XPASS|ERROR)/$name: \1/p" <<<"$found")
	skips+=$(sed -n -E "s/^(SKIP|XFAIL): /$name: /p" <<<"$found")
	[ -z "$failures" ] || failures=${failures%$'\n'}$'\n'
	[ -z "$skips" ] || skips=${skips%$'\n'}$'\n'
	report "$name" "$good" "$bad" "$skip"
}

# suite NAME "CONFIGURE OPTIONS" MAKE_VARIABLE...
suite() {
	local name=$1 options=$2
	shift 2
	began=$SECONDS
	# shellcheck disable=SC2086 # options are words
	if configure_build "$name" --enable-werror $options; then
		make_check "$name" "$@"
	else
		broken "$name" "configure failed"
	fi
}

# For tests that may do less where everything is slow: how many times slower.
slow() {
	export QUARRY_TEST_SLOWDOWN=$1
}

# The end of a run: what failed, what was skipped and why, the sums. Fails if a test did.
sums() {
	[ -z "$failures" ] || printf '\nfailed:\n%s' "$failures"
	[ -z "$skips" ] || printf '\nskipped:\n%s' "$skips"
	echo
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
}

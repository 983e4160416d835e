#!/usr/bin/env bash
# The stress programs: each checks itself and ends with 0.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

milliseconds=$((${QUARRY_TEST_STRESS_MS:-1500}))

for program in fork_storm thread_churn producer_consumer; do
	if [ "$program" = fork_storm ] && [ -n "${QUARRY_TEST_EMULATOR:-}" ]; then
		skip "$program" "$QUARRY_TEST_EMULATOR: a child of a program with threads can't start any"
		continue
	fi
	# shellcheck disable=SC2086 # words
	ok "$program" ${UNIT_WRAPPER:-} "$QUARRY_BUILD/tests/stress/$program" "$milliseconds"
done
# The figures go to the log.
if [ -n "${QUARRY_TEST_EMULATOR:-}" ]; then
	skip "mix" "$QUARRY_TEST_EMULATOR: a child of a program with threads can't start any"
else
	ok "mix" env LD_PRELOAD="$QUARRY_SO" "$QUARRY_BUILD/tests/stress/mix" "$((milliseconds * 2))"
fi

done_testing

#!/usr/bin/env bash
# The table in doc/security.md: each attack of attacks.c at each level, beside the other allocators that are installed.
# Nothing is harmful at level 1, and what can be told without hardware is told at level 2. With --table it prints the table
# for the manual.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS
ulimit -c 0
# shellcheck disable=SC2086 # $CC may carry flags
$CC -std=gnu11 -D_GNU_SOURCE -O1 -fno-builtin -w "$QUARRY_SOURCE/tests/secure/attacks.c" -o "$scratch/attacks" -ldl ||
	bail "can't compile attacks.c"

# outcome OPTIONS PRELOAD ATTACK: who is ended by a signal has been found out.
outcome() {
	local status=0 said
	said=$(QUARRY_OPTIONS=$1 LD_PRELOAD=$2 timeout 60 "$scratch/attacks" "$3" 2>"$scratch/report") || status=$?
	if [ "$status" -ge 128 ]; then
		echo detected
	else
		echo "${said##*$'\n'}"
	fi
}

# The first that is there; a sanitizer's runtime would not bear another allocator.
installed() {
	local path
	for path in "$@"; do
		if [ -e "$path" ] && [ "$(LD_PRELOAD=$path "$scratch/attacks" names 2>&1 | wc -l)" = "$attack_count" ]; then
			echo "$path"
			return
		fi
	done
}

attack_count=$("$scratch/attacks" names | wc -l)

if [ "${1:-}" = --table ]; then
	names=(glibc) paths=("")
	lib=/usr/lib/$($CC -dumpmachine)
	for row in "jemalloc:$lib/libjemalloc.so.2" "mimalloc:$lib/libmimalloc.so.2" \
		"scudo:$(echo /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.scudo_standalone-"$(uname -m)".so)"; do
		path=$(installed "${row#*:}")
		[ -z "$path" ] || names+=("${row%%:*}") paths+=("$path")
	done
	echo "| attack | 0 | 1 | 2 |$(printf ' %s |' "${names[@]}")"
	echo "|---|---|---|---|$(printf -- '---|%.0s' "${names[@]}")"
	"$scratch/attacks" names | while IFS='|' read -r name about; do
		printf '| %s |' "$about"
		for level in 0 1 2; do
			printf ' %s |' "$(outcome "secure=$level" "$QUARRY_SO" "$name")"
		done
		for path in "${paths[@]}"; do
			printf ' %s |' "$(outcome "" "$path" "$name")"
		done
		echo
	done | sed 's/ harmful/ **harmful**/g'
	exit 0
fi

# Reads are of zeros, and places are others: there is nothing to tell.
untold="uninitialised uninitialised_middle read_after_free reuse_at_once reuse_at_once_large"

guards=$(QUARRY_OPTIONS=secure=2 outcome secure=2 "$QUARRY_SO" large_overflow_8192)
while IFS='|' read -r name about; do
	got=$(outcome secure=1 "$QUARRY_SO" "$name")
	like "$got" '^(harmless|detected)$' "level 1: $about"
	got=$(outcome secure=2 "$QUARRY_SO" "$name")
	expected=detected
	case " $untold " in *" $name "*) expected=harmless ;; esac
	case $name in
	large_* | *_large | read_after_free_middle)
		# Only guards tell, which older kernels have none of.
		[ "$guards" = detected ] || expected=$got
		;;
	esac
	is "$got" "$expected" "level 2: $about"
done < <("$scratch/attacks" names)

# What was found is said in words.
outcome secure=1 "$QUARRY_SO" overflow_1 >/dev/null
like "$(cat "$scratch/report")" "quarry: free\(0x[0-9a-f]+\): overflow: bytes behind the block.*byte 0 behind the block's 64" "an overflow's report"
outcome secure=1 "$QUARRY_SO" write_after_free >/dev/null
like "$(cat "$scratch/report")" "quarry: malloc\(0x[0-9a-f]+\): use after free: bytes of the freed block.*byte 0 of 80 is not 0" "a use after free's"
outcome secure=2 "$QUARRY_SO" wrong_size_said >/dev/null
like "$(cat "$scratch/report")" "operator delete\(0x[0-9a-f]+\): wrong size.*512 said, 64 asked for" "a wrong size's"
is "$(outcome secure=1,on_error=warn "$QUARRY_SO" overflow_1)" harmless "on_error=warn: the program goes on"
like "$(cat "$scratch/report")" "overflow: bytes behind" "and it is said"
is "$(outcome secure=1,on_error=ignore "$QUARRY_SO" overflow_1)" harmless "on_error=ignore: the program goes on"
is "$(cat "$scratch/report")" "" "and nothing is said"
is "$(outcome secure=1,secure_canary=off "$QUARRY_SO" overflow_1_odd)" harmless "secure_canary=off"
like "$(outcome secure=1,secure_verify=off "$QUARRY_SO" write_after_free)" '^harm' "secure_verify=off"
is "$(outcome secure=1,secure_zero=off "$QUARRY_SO" read_after_free)" harmful "secure_zero=off"
is "$(outcome secure=1,secure_random=off "$QUARRY_SO" reuse_at_once)" harmful "secure_random=off"
is "$(outcome secure=2,secure_said=off "$QUARRY_SO" wrong_size_said)" harmless "secure_said=off"

# ---- Everything else goes on as ever

# quietly OPTIONS COMMAND...: only how it ends matters.
quietly() {
	QUARRY_OPTIONS=$1 timeout 300 "${@:2}" >"$scratch/output" 2>&1 || {
		diag "$(tail -n 5 "$scratch/output")"
		return 1
	}
}

for level in 1 2; do
	if [ -x "$QUARRY_BUILD/tests/model/model_test" ]; then
		ok "the model-based test at level $level" \
			quietly "secure=$level,secure_said=off" env QUARRY_TEST_SLOWDOWN=$((${QUARRY_TEST_SLOWDOWN:-1} * 4)) "$QUARRY_BUILD/tests/model/model_test"
	fi
	ok "forks of many threads at level $level" quietly "secure=$level" "$QUARRY_BUILD/tests/stress/fork_storm" 700
	ok "threads that come and go at level $level" quietly "secure=$level" "$QUARRY_BUILD/tests/stress/thread_churn" 500
	# shellcheck disable=SC2016 # perl's own $
	is "$(QUARRY_OPTIONS=secure=$level LD_PRELOAD=$QUARRY_SO perl -e 'my %h; $h{$_ % 9999} .= "x" x ($_ % 999) for 1..60000; print scalar(keys %h)' 2>&1)" 9999 \
		"perl at level $level"
done
done_testing

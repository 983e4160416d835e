#!/usr/bin/env bash
# Configuration files: which win over which, whom a section is for, and what privileges change.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS QUARRY_CONFIG XDG_CONFIG_HOME
export HOME=$scratch/home
mkdir -p "$HOME/.config" "$scratch/other"
cp "$(command -v sleep)" "$scratch/worker"

# value PROGRAM OPTION: its value and where that came from
value() {
	QUARRY_OPTIONS=${options:-}${options:+,}confirm LD_PRELOAD=$QUARRY_SO "$1" 0 2>&1 | sed -n "s/^quarry: $2=//p"
}

is "$(value sleep decay_ms)" "1000 (default)" "without files"
cat >"$HOME/.config/quarry.conf" <<-'END'
	# all
	decay_ms = 11
	[worker]
	decay_ms = 12
	retain = 1M, thp = always
END
is "$(value sleep decay_ms)" "11 (quarry.conf)" "the user's file, for all programs"
is "$(value "$scratch/worker" decay_ms)" "12 (quarry.conf)" "and for one"
is "$(value "$scratch/worker" thp)" "always (quarry.conf)" "several options on a line"
is "$(value sleep retain)" "16M (default)" "which are not for others"
is "$(options=decay_ms=13 value "$scratch/worker" decay_ms)" "13 (QUARRY_OPTIONS)" "the environment wins"
is "$(options=decay_ms=13 value "$scratch/worker" retain)" "1M (quarry.conf)" "option by option"
echo "decay_ms=14" >"$scratch/other/quarry.conf"
is "$(XDG_CONFIG_HOME=$scratch/other value sleep decay_ms)" "14 (quarry.conf)" "XDG_CONFIG_HOME"
echo "decay_ms=15" >"$scratch/named"
is "$(QUARRY_CONFIG=$scratch/named value sleep decay_ms)" "15 (QUARRY_CONFIG)" "QUARRY_CONFIG names another file"
is "$(cd "$scratch" && QUARRY_CONFIG=named value "$scratch/worker" retain)" "16M (default)" "in place of the user's"
is "$(QUARRY_CONFIG='' value sleep decay_ms)" "1000 (default)" "or none"

says() {
	LD_PRELOAD=$QUARRY_SO sleep 0 2>&1
}
echo "decay_ms=fast" >"$scratch/named"
is "$(QUARRY_CONFIG=$scratch/named says)" "quarry: $scratch/named:1: decay_ms=fast: not a number; allowed: 0 to 3600000" \
	"a mistake is named with its line"
is "$(QUARRY_CONFIG=$scratch/none says)" "quarry: $scratch/none: can't be read (error 2)" "a named file that isn't there"
is "$(QUARRY_CONFIG=$scratch says)" "quarry: $scratch: can't be read (error 21)" "a directory"
head -c 70000 /dev/zero | tr '\0' '\n' >"$scratch/large"
is "$(QUARRY_CONFIG=$scratch/large says)" "quarry: $scratch/large: too large; allowed: 65536 bytes" "a file that is too large"
is "$(QUARRY_CONFIG=/dev/zero says)" "quarry: /dev/zero: too large; allowed: 65536 bytes" "one without an end"
mkfifo "$scratch/pipe"
is "$(QUARRY_CONFIG=$scratch/pipe timeout 20 env LD_PRELOAD="$QUARRY_SO" sleep 0 2>&1)" "" "a pipe without a writer doesn't stop the program"
is "$(HOME=relative says)$(HOME='' says)" "" "no home, no word"

# `quarry check` reads what the process has read.
LD_PRELOAD=$QUARRY_SO "$scratch/worker" 60 &
worker=$!
sleep 0.3
like "$("$QUARRY_BUILD/quarry" check "$worker" 2>&1)" "option decay_ms=12 \(quarry.conf\)" "quarry check PID says so, too"
kill "$worker"
wait "$worker" 2>/dev/null

# The system's file, in a mount namespace of its own.
mkdir -p "$scratch/etc"
printf 'decay_ms=21\nretain=3M\n' >"$scratch/etc/quarry.conf"
if ! unshare -m mount -t overlay -o lowerdir="$scratch/etc:/etc" overlay /etc 2>/dev/null; then
	skip "the system's file" "can't mount over /etc"
else
	# shellcheck disable=SC2016 # expanded inside
	found=$(unshare -m sh -c 'mount -t overlay -o lowerdir="$1/etc:/etc" overlay /etc
		QUARRY_OPTIONS=confirm LD_PRELOAD=$2 sleep 0 2>&1' sh "$scratch" "$QUARRY_SO" | grep -E 'decay_ms|retain=')
	is "$found" "quarry: decay_ms=11 (quarry.conf)
quarry: retain=3M (/etc/quarry.conf)" "the system's file, and the user's that wins over it"
fi
done_testing

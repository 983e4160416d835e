# shellcheck shell=bash
# What scripts/test and scripts/demo share: where things are, build directories, logs. Sourced; sets $top and $work.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Build directories stand under build/. Where that can't be written to (it was left by another user, the sources are
# read-only), they stand in the temporary directory, with a copy of the sources beside them.
work=$top/build
source_tree=$top
if ! { mkdir -p "$work" && [ -w "$work" ] && [ -w "$top" ]; } 2>/dev/null; then
	work=${TMPDIR:-/tmp}/quarry-$EUID-$(printf %s "$top" | cksum | cut -d' ' -f1)
	source_tree=$work/source
	mkdir -p "$work"
	# In a directory that all share, one of another user's is no place to build.
	[ -O "$work" ] || { echo "$work belongs to somebody else" >&2; exit 1; }
	rm -rf "$source_tree"
	mkdir "$source_tree"
	tar -C "$top" --exclude=./.git --exclude='./build*' --exclude=./autom4te.cache -cf - . | tar -C "$source_tree" -xf -
fi
logs=$work/logs
mkdir -p "$logs"

# Nothing of the caller's may leak into builds and measurements.
unset LD_PRELOAD QUARRY_OPTIONS MAKEFLAGS MFLAGS DESTDIR CFLAGS CPPFLAGS LDFLAGS CDPATH
export LC_ALL=C

# One at a time: a second run waits until the first is done.
exec 9>"$work/lock"
if ! flock -n 9; then
	echo "waiting for another run in $work" >&2
	flock 9
fi

# run LOG COMMAND...: the output goes to the log, its tail is shown if the command fails.
run() {
	local log=$logs/$1.log
	shift
	if ! "$@" </dev/null >>"$log" 2>&1 9>&-; then
		{
			echo "failed: $*"
			echo "---- the end of $log:"
			tail -n 30 "$log"
			echo "----"
		} >&2
		return 1
	fi
}

# Makes configure, if it is missing or older than what it is made of.
bootstrap() {
	local newer=yes

	if [ -e "$source_tree/configure" ] && [ -e "$source_tree/Makefile.in" ]; then
		newer=$(cd "$source_tree" && find configure.ac Makefile.am m4/quarry.m4 -newer configure -o \
			-name Makefile.am -newer Makefile.in)
	fi
	[ -z "$newer" ] && return
	rm -f "$logs/bootstrap.log"
	run bootstrap autoreconf -fi "$source_tree"
}

# configure_build NAME OPTION...: configures $work/NAME; does nothing if that has been done with the same options.
configure_build() {
	local name=$1 directory=$work/$1
	shift

	bootstrap || return
	rm -f "$logs/$name.log"
	if [ "$(cat "$directory/options" 2>/dev/null)" != "$source_tree $*" ] ||
		[ "$source_tree/configure" -nt "$directory/config.status" ]; then
		rm -rf "$directory"
		mkdir "$directory"
		(cd "$directory" && run "$name" "$source_tree/configure" "$@") || return
		echo "$source_tree $*" >"$directory/options"
	fi
}

#!/usr/bin/env bash
# `quarry run` and `quarry check`: programs that Quarry gets into, and each reason why it doesn't get into one.
. "${QUARRY_SOURCE:-$(dirname "$0")/../..}/tests/tap.sh"

unset QUARRY_OPTIONS QUARRY_LIB LD_PRELOAD
quarry=$QUARRY_BUILD/quarry
[ -x "$quarry" ] || quarry=$QUARRY_BUILD/tools/quarry
[ -x "$quarry" ] || skip_all "the command is not built"
[ -e "$QUARRY_SO" ] || skip_all "libquarry.so is not built"
# shellcheck disable=SC2154 # tap.sh sets it
cd "$scratch" || bail "no scratch directory"
# A folder in PATH that may not be searched would make "not found" a "permission denied".
PATH=/usr/local/bin:/usr/bin:/bin

# Runs a command; leaves its standard output in $out, standard error in $err, exit status in $status.
try() {
	out=$("$@" 2>err)
	status=$?
	err=$(cat err)
}

# expect STATUS ERR_PATTERN NAME COMMAND...: that exit status, and standard error matches ("" means empty).
expect() {
	local expected=$1 pattern=$2 name=$3
	shift 3
	try "$@"
	is "$status" "$expected" "$name: exit status"
	if [ -z "$pattern" ]; then
		is "$err" "" "$name: no complaint"
	else
		like "$err" "$pattern" "$name: says why"
	fi
}

# verdict WORD STATUS PATTERN NAME ARGUMENT...: what `quarry check` prints, and its exit status.
verdict() {
	local word=$1 expected=$2 pattern=$3 name=$4
	shift 4
	try "$quarry" check "$@"
	is "$status $err" "$expected " "$name: exit status of check"
	like "$out" "^$word: .*$pattern" "$name: check says $word"
}

cat >program.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
/* Prints whether Quarry is mapped, and AT_SECURE; ends with its argument. */
int main(int argc, char **argv)
{
	char line[4096];
	int mapped = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
		mapped |= strstr(line, "libquarry.so") != NULL;
	printf("%s%s\n", mapped ? "with" : "without", getauxval(AT_SECURE) != 0 ? " secure" : "");
	return argc > 1 ? atoi(argv[1]) : 0;
}
END
$CC -o program program.c || bail "can't compile"

cat >other.c <<'END'
#include <stddef.h>
void *je_malloc(size_t size) { (void)size; return NULL; }
END

# ---- The program runs with Quarry

expect 0 "" "a program" "$quarry" run ./program
is "$out" "with" "a program has Quarry mapped"
expect 7 "" "a status" "$quarry" run ./program 7
is "$(sh -c 'echo $$; exec "$0" run sh -c "echo \$\$"' "$quarry" | uniq | wc -l)" 1 "the program has the command's process id"
try "$quarry" run sh -c 'kill -TERM $$'
is "$status" $((128 + 15)) "death by a signal is passed on"
# shellcheck disable=SC2016 # for the inner shell
expect 0 "" "arguments" "$quarry" run -- sh -c 'printf "%s|" "$@"' x --stats "a b" ""
is "$out" "--stats|a b||" "the program's arguments are its own"
expect 0 "quarry" "--stats" "$quarry" run --stats ./program
verdict active 0 "libquarry" "a program" ./program

# ---- Options

# shellcheck disable=SC2016
print='echo "$QUARRY_OPTIONS"'
is "$("$quarry" run --decay_ms=5 --retain=3K sh -c "$print")" "decay_ms=5,retain=3K" "options get to the program"
is "$("$quarry" run --decay-ms=5 sh -c "$print")" "decay_ms=5" "a dash stands for an underscore"
is "$(QUARRY_OPTIONS=decay_ms=9,retain=1M,,decay_ms=8 "$quarry" run --decay_ms=5 sh -c "$print")" "retain=1M,decay_ms=5" \
   "an argument replaces the environment's option of that name and no other"
is "$(QUARRY_OPTIONS=retain=1M "$quarry" run sh -c "$print")" "retain=1M" "without arguments the environment's stay"
is "$("$quarry" run --decay_ms=1 --decay_ms=2 sh -c "$print")" "decay_ms=2" "the last argument counts"
# shellcheck disable=SC2016
like "$(LD_PRELOAD=libm.so.6 "$quarry" run sh -c 'echo "$LD_PRELOAD"')" '/libquarry\.so[^:]*:libm\.so\.6$' \
     "Quarry comes before what is preloaded already"

# ---- Guard mode

# shellcheck disable=SC2016
print='echo "$QUARRY_OPTIONS $PYTHONMALLOC $USE_ZEND_ALLOC $G_SLICE $GLIBCXX_FORCE_NEW $GLIBCPP_FORCE_NEW $NSS_DISABLE_ARENA_FREE_LIST"'
pools='PYTHONMALLOC=malloc USE_ZEND_ALLOC=0 G_SLICE=always-malloc GLIBCXX_FORCE_NEW=1 GLIBCPP_FORCE_NEW=1 NSS_DISABLE_ARENA_FREE_LIST=1'
expect 0 "^quarry: guard mode: pools are switched off by $pools \\(--keep-pools leaves them\\)\$" "--guard says which pools it switches off" \
	"$quarry" run --guard sh -c "$print"
is "$out" "guard=on,report=/proc/self/fd/200 malloc 0 always-malloc 1 1 1" "guard mode and the pools' variables get to the program"
expect 0 "" "--keep-pools" "$quarry" run --guard --keep-pools sh -c "$print"
is "$out" "guard=on,report=/proc/self/fd/200      " "--keep-pools leaves them"
is "$(PYTHONMALLOC=debug G_SLICE=debug-blocks "$quarry" run --guard sh -c "$print" 2>/dev/null)" "guard=on,report=/proc/self/fd/200 debug 0 debug-blocks 1 1 1" \
   "variables that are set stay"
is "$(QUARRY_OPTIONS=guard=on "$quarry" run sh -c "$print" 2>/dev/null)" "guard=on,report=/proc/self/fd/200 malloc 0 always-malloc 1 1 1" \
   "guard mode from the environment switches them off, too"
is "$(QUARRY_OPTIONS=guard=on "$quarry" run --guard=off sh -c "$print" 2>&1)" "guard=off      " "--guard=off does not"

expect 125 '^quarry: --decay_ms=fast: not a number; allowed: 0 to 3600000$' "a bad number" "$quarry" run --decay_ms=fast ./program
is "$out" "" "a bad number: the program is not started"
expect 125 '^quarry: --retain=2T: out of range; allowed: 0 to 1T ' "a number out of range" "$quarry" run --retain=2T ./program
expect 125 '^quarry: --foreign=x: .*; allowed: forward\|ignore\|abort$' "a bad choice" "$quarry" run --foreign=x ./program
expect 125 '^quarry: --stats=x: .*; allowed: on\|off$' "a bad flag" "$quarry" run --stats=x ./program
expect 125 '^quarry: --foreign=abort,stats=on: ' "two options in one" "$quarry" run --foreign=abort,stats=on ./program
expect 125 "unrecognized option '--nonsense'" "an unknown option" "$quarry" run --nonsense ./program
expect 125 '^quarry: run: no program given' "no program" "$quarry" run --stats

# ---- Programs that can't be run

echo text >text
printf '#!/nowhere/interpreter\n' >lost
printf '#!/usr/bin/env nowhere-to-be-found\n' >lost_env
chmod +x lost lost_env
expect 127 '^quarry: nowhere-to-be-found: not found in PATH$' "not in PATH" "$quarry" run nowhere-to-be-found
expect 127 '^quarry: \./nowhere: No such file' "not there" "$quarry" run ./nowhere
expect 126 '^quarry: \./text: Permission denied$' "not executable" "$quarry" run ./text
expect 126 '^quarry: /tmp: Is a directory$' "a directory" "$quarry" run /tmp
expect 127 '^quarry: \./lost: its interpreter /nowhere/interpreter: ' "no interpreter" "$quarry" run ./lost
expect 127 '^quarry: \./lost_env: its interpreter nowhere-to-be-found: ' "no interpreter for env" "$quarry" run ./lost_env
if $CC -o no_loader program.c -Wl,--dynamic-linker=/nowhere/ld.so; then
	expect 127 '^quarry: \./no_loader: its loader /nowhere/ld\.so: ' "no loader" "$quarry" run ./no_loader
fi
expect 2 '^quarry: \./nowhere: No such file' "check of nothing" "$quarry" check ./nowhere

# ---- Libraries that can't be preloaded

expect 125 '^quarry: --lib /nowhere: No such file' "--lib of nothing" "$quarry" run --lib=/nowhere ./program
expect 125 '^quarry: --lib \./text: not a shared library$' "--lib of a text" "$quarry" run --lib=./text ./program
expect 125 '^quarry: QUARRY_LIB: /nowhere: No such file' "QUARRY_LIB of nothing" env QUARRY_LIB=/nowhere "$quarry" run ./program
expect 0 "" "QUARRY_LIB behind --lib" env QUARRY_LIB=/nowhere "$quarry" run --lib="$QUARRY_SO" ./program
mkdir alone "a blank"
cp "$quarry" alone/
cp "$QUARRY_SO" "a blank/libquarry.so"
expect 125 "a colon or a blank" "a blank in the path" "$quarry" run --lib="a blank/libquarry.so" ./program
try alone/quarry run ./program
if [ "$status" -eq 125 ]; then
	like "$err" "^quarry: libquarry\.so not found; .*tried: $scratch/alone/\.\./lib\*/libquarry\.so\.0, .*/libquarry\.so\$" \
	     "no library: says where it looked"
else
	skip "no library: says where it looked" "one is installed in the configured place"
fi
mkdir -p installed/bin installed/lib
cp "$quarry" installed/bin/
cp "$QUARRY_SO" installed/lib/libquarry.so.0
expect 0 "" "installed side by side" installed/bin/quarry run grep -o -m1 "$scratch/installed/lib/libquarry.so.0" /proc/self/maps
like "$out" "libquarry" "the library beside the command is taken"
# The loader's own reasons: a header that it doesn't like (e_phentsize), a library that the library needs.
cp "$QUARRY_SO" broken.so
printf '\001' | dd of=broken.so bs=1 seek=54 conv=notrunc status=none
expect 0 '^quarry: \./program: Quarry will not be active: the loader .* does not take .*/broken\.so: ELF file' "a broken library" \
       "$quarry" run --lib=./broken.so ./program
echo 'int gone;' >gone.c
$CC -shared -fPIC -o libgone.so gone.c -Wl,-soname,libgone.so
$CC -shared -fPIC -o needy.so other.c -Wl,--no-as-needed -L. -lgone
rm libgone.so
expect 127 '^quarry: \./program: Quarry will not be active: .*/needy\.so: it needs libgone\.so, which is not found' "a needy library" \
       "$quarry" run --lib=./needy.so ./program

# ---- Programs that Quarry doesn't get into: one line says why, and they run

absent() {
	local name=$1 pattern=$2 program=$3
	expect 5 "^quarry: [^ ]*: Quarry will not be active: .*$pattern" "$name" "$quarry" run "$program" 5
	is "$(grep -c '^quarry: ' err)" 1 "$name: one line"
	verdict absent 1 "$pattern" "$name" "$program"
}

if $CC -static -o static program.c 2>/dev/null; then
	absent "a static program" "statically linked" ./static
	is "$("$quarry" run ./static 2>/dev/null)" "without" "a static program runs without"
	printf '#!%s/static\n' "$scratch" >static_script
	chmod +x static_script
	expect 0 "its interpreter $scratch/static: it is statically linked" "a script of a static interpreter" \
	       "$quarry" run ./static_script
else
	skip "a static program" "no static C library"
fi

cat >own.c <<'END'
#include <stddef.h>
static char arena[1 << 20];
static size_t used;
void *malloc(size_t size) { used += (size + 31) / 16 * 16; return arena + used; }
void *calloc(size_t count, size_t size) { return malloc(count * size); }
void *realloc(void *block, size_t size) { (void)block; return malloc(size); }
void free(void *block) { (void)block; }
END
$CC -fno-builtin -o own program.c own.c || bail "can't compile"
absent "a program with its own malloc" "malloc of its own" ./own

loader=$($READELF -p .interp program | sed -n 's/.*\] *\//\//p')
cp "$loader" ld-musl-test.so.1
if $CC -o musl program.c -Wl,--dynamic-linker="$scratch/ld-musl-test.so.1"; then
	absent "a program for musl" "uses musl" ./musl
fi

# The ELF header of another machine is enough to be recognised. (Run by the shell: the kernel refuses it.)
printf '\177ELF\002\002\001\0\0\0\0\0\0\0\0\0\0\002\0\026' >other_machine
chmod +x other_machine
verdict absent 1 "built for S/390 \(64 bits\)" "another machine" ./other_machine

cp program privileged
if [ "$(id -u)" -eq 0 ] && chown 65534 privileged && chmod 4755 privileged && ./privileged | grep -q secure; then
	absent "a setuid program" "it is setuid" ./privileged
	is "$("$quarry" run ./privileged 2>/dev/null)" "without secure" "a setuid program runs without"
else
	skip "a setuid program" "only root can make one"
fi

# ---- Scripts

# shellcheck disable=SC2016
{
	printf '#!/bin/sh\ngrep -c libquarry /proc/$$/maps >/dev/null && echo with "$@"\n' >script
	printf '#!/usr/bin/env sh\necho env\n' >env_script
	printf '#!/usr/bin/env -S -i sh\necho "[$LD_PRELOAD]"\n' >clear_script
	printf '#!/usr/bin/env -S -uLD_PRELOAD sh\necho "[$LD_PRELOAD]"\n' >unset_script
	printf 'echo plain\n' >plain_script
	printf '#!%s/loop\n' "$scratch" >loop
}
chmod +x script env_script clear_script unset_script plain_script loop
expect 0 "" "a script" "$quarry" run ./script a
is "$out" "with a" "a script's interpreter has Quarry"
expect 0 "" "a script of env" "$quarry" run ./env_script
expect 0 "" "a script without a first line" "$quarry" run ./plain_script
is "$out" "plain" "a script without a first line is the shell's"
expect 126 '^quarry: \./loop: Too many levels' "a script of itself" "$quarry" run ./loop
if ./clear_script >/dev/null 2>&1; then
	expect 0 "has env remove LD_PRELOAD" "env -i" "$quarry" run ./clear_script
	expect 0 "has env remove LD_PRELOAD" "env -u" "$quarry" run ./unset_script
	is "$out" "[]" "env -u: it does"
else
	skip "env -i" "this env has no -S"
fi

# ---- Other allocators

$CC -shared -fPIC -o libother.so other.c
$CC -o linked program.c -Wl,--no-as-needed -L. -lother -Wl,-rpath,"$scratch"
verdict partial 0 "1 of its objects" "a program with jemalloc inside" ./linked
like "$out" $'\n'"  $scratch/libother\.so: brings its own allocator \(jemalloc\)" "the object with jemalloc inside is named"

# ---- Processes

# until_mapped PID PATTERN: waits until the process is sleep(1) and has the file mapped.
until_mapped() {
	local i
	for ((i = 0; i < 400; i++)); do
		[[ $(readlink "/proc/$1/exe") == */sleep ]] && grep -q "$2" "/proc/$1/maps" 2>/dev/null && return
		sleep 0.05
	done
}

QUARRY_OPTIONS=retain=1M "$quarry" run --decay_ms=7 sleep 60 &
with=$!
sleep 60 &
without=$!
LD_PRELOAD=/nowhere/libquarry.so sleep 60 2>/dev/null &
lost=$!
until_mapped $with libquarry
until_mapped $without libc
until_mapped $lost libc
verdict active 0 "libquarry\.so.* is mapped in process $with " "a process with Quarry" $with
like "$out" $'\n'"  option decay_ms=7 \(QUARRY_OPTIONS\)"$'\n' "a process's options: given"
like "$out" $'\n'"  option foreign=forward \(default\)"$'\n' "a process's options: default"
verdict absent 1 "LD_PRELOAD does not name it" "a process without Quarry" $without
verdict absent 1 "LD_PRELOAD names /nowhere/libquarry\.so, which can't be loaded: No such file" "a process with a lost library" $lost
kill $with $without $lost
wait $with $without $lost 2>/dev/null
expect 2 '^quarry: /proc/[0-9]*/exe: no such process' "check of an ended process" "$quarry" check $with

# ---- The rest

expect 2 '^quarry: no command given' "no command" "$quarry"
expect 2 '^quarry: no such command: nonsense' "an unknown command" "$quarry" nonsense
expect 2 '^quarry: check: no program or process given' "check of what?" "$quarry" check
expect 2 '^quarry: check: one program or process' "check of two" "$quarry" check a b
expect 0 "" "options" "$quarry" options
rows=$(sed -n 's/^OPTION_[A-Z]*(\([a-z_]*\),.*/\1/p' "$QUARRY_SOURCE/src/base/options.def")
is "$(printf '%s\n' "$out" | sed 's/ .*//')" "$rows" "options lists the table"
# shellcheck disable=SC2016
expect 2 "writing" "a full disk" sh -c '"$0" options >/dev/full' "$quarry"
expect 0 "" "--help" "$quarry" run --help
for name in $rows; do
	like "$out" "--$name" "--help has --$name"
done
try "$quarry" --version
is "$out" "quarry $(sed -n 's/^#define QUARRY_VERSION_[A-Z]* //p' "$QUARRY_SOURCE/include/quarry/quarry.h" | paste -s -d .)" \
   "--version is the header's"

done_testing

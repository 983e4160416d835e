#!/usr/bin/env bash
# The layers hold: a file includes only from its own folder or from folders before it, and only src/os/ makes system
# calls.
. "${QUARRY_SOURCE:-$(dirname "$0")/..}/tests/tap.sh"

layers=(base os space block thread guard observe api)
cd "$QUARRY_SOURCE" || bail "no source tree"

# The C library's wrappers of system calls that an allocator could be tempted by.
wrappers='brk|clone|close|fcntl|fork|futex|getpid|getrandom|getrlimit|gettid|ioctl|kill|madvise|mincore|mlock|mmap'
wrappers+='|mmap64|mprotect|mremap|mseal|msync|munlock|munmap|nanosleep|open|open64|openat|poll|posix_madvise|prctl'
wrappers+='|pread|process_madvise|read|readlink|sbrk|sched_getcpu|sched_yield|setrlimit|sigaction|sigaltstack'
wrappers+='|sigprocmask|syscall|sysinfo|tgkill|usleep|write|writev|fopen|fwrite|printf|fprintf|fputs|puts|perror'
headers='fcntl|unistd|syscall|sched|poll|linux/.*|sys/(mman|syscall|resource|prctl|uio|sysinfo|ioctl|wait|random)'

includes() {
	[ ! -e "$1" ] || sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$1"
}

# "FILE includes OTHER" for each include that isn't allowed; $2: the folders that FILE may take from. Below src/ an
# include names its folder, elsewhere a neighbour's name will do.
wrong_includes() {
	local other

	while read -r other; do
		case $other in
		*/*) [[ " $2 " == *" ${other%%/*} "* ]] || echo "$1 includes \"$other\"" ;;
		*) [[ $1 != src/* && -e ${1%/*}/$other ]] || echo "$1 includes \"$other\" without naming its folder" ;;
		esac
	done < <(includes "$1")
}

# The public header belongs to everybody: it includes nothing of ours.
allowed=quarry
for layer in "${layers[@]}"; do
	allowed+=" $layer"
	found=$(for file in src/"$layer"/*; do wrong_includes "$file" "$allowed"; done)
	is "$found" "" "src/$layer includes only what stands before it"
done

is "$(find src -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | xargs)" \
   "$(printf '%s\n' "${layers[@]}" | sort | xargs)" "every folder of src is a layer"

found=$(for file in tools/*.[ch]; do wrong_includes "$file" "quarry tools"; done |
	grep -vE '"base/(options\.(h|def)|config\.h)"$')
is "$found" "" "tools include only public headers and the options"

is "$(includes include/quarry/quarry.h)" "" "the public header includes nothing of ours"

# What Makefile.am doesn't name is neither built nor released.
found=
for file in src/*/* tools/*.[ch] tests/*/*_test.c tests/*.sh tests/*/*_test.sh; do
	name=${file%_test.c}_test
	[[ $file == *_test.c ]] || name=$file
	[ ! -e "$file" ] || grep -qE "(^|[[:space:]])${name//./\\.}([[:space:]]|\$)" Makefile.am || found+="$file "
done
is "$found" "" "Makefile.am lists every source and every test"

others=$(find src -mindepth 2 -type f -not -path 'src/os/*' | sort)
# shellcheck disable=SC2086 # a list of names without blanks
{
	is "$(grep -nE "^[ \t]*#[ \t]*include[ \t]*[<\"]($headers|os/syscall)\.h[>\"]" $others)" "" \
	   "only src/os includes the system's headers"
	is "$(grep -nE '\<SYSCALL[0-9]\(|\<asm\>.*(syscall|svc)' $others)" "" "only src/os has system calls in assembler"
}

# The same question to the objects: no macro or declaration by hand hides from them.
if [ -e "$QUARRY_BUILD/libcore.a" ]; then
	for layer in "${layers[@]}"; do
		[ "$layer" = os ] && continue
		found=$(cd "$QUARRY_BUILD" && for object in src/"$layer"/*.o; do
			case $object in */lib*_la-*) continue ;; esac
			$NM -P -u "$object" 2>/dev/null | sed 's/@.*//' |
				awk -v object="$object" -v wrappers="^(__)?($wrappers)(_chk)?\$" \
				    '$1 ~ wrappers { print object " calls " $1 }'
		done)
		is "$found" "" "objects of src/$layer call nothing that makes a system call"
	done
else
	skip "objects call nothing that makes a system call" "libcore.a is not built"
fi

done_testing

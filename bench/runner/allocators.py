"""Which allocators can be preloaded here, and the proof that a preload takes hold."""

import glob
import os
import platform
import re
import select
import struct
import subprocess
import tempfile
from dataclasses import dataclass

from .errors import BenchError

LIBRARY_FOLDERS = ("/usr/lib/*-linux-*", "/usr/lib64", "/usr/lib", "/usr/local/lib")
CLANG_FOLDERS = ("/usr/lib/llvm-*/lib/clang/*/lib", "/usr/lib/clang/*/lib", "/usr/lib64/clang/*/lib")
MACHINE = platform.machine()

# Debian's packages libjemalloc2, libmimalloc2.0, libtcmalloc-minimal4, libclang-rt-dev: where each may be. Clang's
# runtime lies in a folder of the system or of the target, with or without the machine in its name.
PEERS = {
    "jemalloc": [f"{folder}/libjemalloc.so.2" for folder in LIBRARY_FOLDERS],
    "mimalloc": [f"{folder}/libmimalloc.so.{version}" for version in ("3", "2", "2.0") for folder in LIBRARY_FOLDERS],
    "tcmalloc": [f"{folder}/libtcmalloc_minimal.so.4" for folder in LIBRARY_FOLDERS],
    "scudo": [f"{folder}/{file}" for folder in CLANG_FOLDERS
              for file in (f"linux/libclang_rt.scudo_standalone-{MACHINE}.so",
                           f"{MACHINE}-*/libclang_rt.scudo_standalone.so")],
}
PT_INTERP = 3  # of an ELF program header: the dynamic loader
START_SECONDS = 10  # after which a preloaded program counts as hanging


@dataclass
class Allocator:
    name: str
    path: str  # of the library to preload; empty for the C library's own malloc

    def preload_for(self, workload):
        """What LD_PRELOAD holds. A program that is linked with an allocator of its own would not use libc's malloc
        unless libc came first."""
        if not self.path and workload.brings_allocator:
            return libc_path()
        return self.path


def libc_path():
    for line in open("/proc/self/maps"):
        if re.search(r"/(libc\.so\.6|libc-[\d.]+\.so|ld-musl[^/]*)$", line.rstrip()):
            return line.split(None, 5)[5].rstrip()
    raise BenchError("cannot find the C library among this process's mappings")


def find_quarry(folders):
    """The path of Quarry's library in the first of these build directories that has one, or None."""
    for folder in folders:
        path = os.path.join(folder, ".libs", "libquarry.so")
        if os.path.exists(path):
            return path
    return None


def by_version(path):
    """Sorts llvm-9 before llvm-14."""
    return [int(number) for number in re.findall(r"\d+", path)]


def find_peer(places):
    """The newest library at the first of these places that has one, or None."""
    for place in places:
        found = sorted(glob.glob(place), key=by_version)
        if found:
            return found[-1]
    return None


def collect(quarry, extra, only):
    """The allocators to measure, in the order of the table. extra: texts NAME=PATH; only: names, or None for all."""
    paths = {"quarry": quarry, "libc": "", **{name: find_peer(places) for name, places in PEERS.items()}}
    for text in extra:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise BenchError(f"--lib wants NAME=PATH, not '{text}'")
        if paths.get(name) is not None:
            raise BenchError(f"--lib {text}: there is an allocator '{name}' already")
        paths[name] = path
    for name in only or ():
        if name not in paths:
            raise BenchError(f"--only: no allocator '{name}' (there are {', '.join(paths)})")
        if paths[name] is None:
            raise BenchError(f"--only: {name} is not installed here" if name != "quarry" else
                             "--only: no libquarry.so found; build it or give --quarry PATH")
    return [Allocator(name, path and os.path.abspath(path)) for name, path in paths.items()
            if path is not None and (not only or name in only)]


def verify(allocator):
    """Starts a small program under the preload; raises unless the library is mapped and its malloc is the one bound.

    A library can be mapped and do nothing: some packages are built without the standard names."""
    if not allocator.path:
        return
    if not os.path.isfile(allocator.path):
        raise BenchError(f"{allocator.name}: no such library: {allocator.path}")
    if re.search(r"[\s:]", allocator.path):
        raise BenchError(f"{allocator.name}: LD_PRELOAD cannot hold a path with a space or a colon: {allocator.path}")
    with tempfile.TemporaryDirectory(prefix="quarry-bench-") as folder:
        environment = dict(os.environ, LD_PRELOAD=allocator.path, LD_DEBUG="bindings",
                           LD_DEBUG_OUTPUT=os.path.join(folder, "bindings"))
        with subprocess.Popen(["cat"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as child:
            try:
                child.stdin.write(b"\n")
                child.stdin.flush()
                answered = select.select([child.stdout], [], [], START_SECONDS)[0]
                started = bool(answered) and child.stdout.readline() == b"\n"  # it has come as far as main
                with open(f"/proc/{child.pid}/maps") as file:
                    mapped = {line.split(None, 5)[5].rstrip() for line in file if line.count("/")}
            except (BrokenPipeError, FileNotFoundError, ProcessLookupError):
                started, mapped = False, set()
            if not started:
                child.kill()
            said = child.communicate()[1].decode(errors="replace").strip().splitlines()
        if not started or child.returncode:
            raise BenchError(f"{allocator.name}: a program preloaded with {allocator.path} does not run"
                             f" (status {child.returncode}){': ' + said[-1] if said else ''}")
        if os.path.realpath(allocator.path) not in {os.path.realpath(path) for path in mapped}:
            raise BenchError(f"{allocator.name}: preloading {allocator.path} had no effect"
                             f"{': ' + said[-1] if said else ''}")
        bound = malloc_bound_to(folder)
    if bound and os.path.realpath(allocator.path) not in map(os.path.realpath, bound):
        raise BenchError(f"{allocator.name}: {allocator.path} is loaded, but malloc is that of {', '.join(bound)}")


def takes_preload(program):
    """False for a statically linked program, in which a preload has no effect. Other files get the benefit of the doubt."""
    with open(program, "rb") as file:
        head = file.read(4096)
    if head[:5] != b"\x7fELF\x02" or head[5] != 1 or len(head) < 64:
        return True
    offset, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
    if offset + size * count > len(head):
        return True
    return any(struct.unpack_from("<I", head, offset + n * size)[0] == PT_INTERP for n in range(count))


def malloc_bound_to(folder):
    """The files that the program's own malloc and free were bound to; empty where the loader doesn't tell (musl)."""
    bound = set()
    for path in glob.glob(os.path.join(folder, "bindings*")):
        for line in open(path, errors="replace"):
            match = re.search(r"binding file (\S*/)?cat \[0\] to (\S+) \[0\]: normal symbol `(malloc|free)'", line)
            if match:
                bound.add(match.group(2))
    return sorted(bound)

"""The benchmark's C files, compiled on the fly. The build keeps them, until a source is newer."""

import glob
import os
import shutil
import subprocess

from .errors import BenchError

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # bench/
SOURCE = os.path.dirname(HERE)
PROGRAM_FLAGS = ["-std=c11", "-O2", "-pthread"]
# The compiler would make a malloc and a memset into the calloc that is being written.
LIBRARY_FLAGS = [*PROGRAM_FLAGS, "-fPIC", "-shared", "-fvisibility=hidden", "-fno-builtin"]


class NotCompiled(BenchError):
    """One program could not be compiled; the others may be."""


def is_build(folder):
    return os.path.exists(os.path.join(folder, "config.status"))


def build_folders():
    """The build directories of the source tree, the newest first; the tree itself comes last."""
    folders = [path for where in ("build*", "build*/*") for path in glob.glob(os.path.join(SOURCE, where))
               if is_build(path)]
    return sorted(folders, key=os.path.getmtime, reverse=True) + [SOURCE]


def cache_folder(build, temporary):
    """Where compiled programs are kept: in the build, or for this once where there is none to write to."""
    if not is_build(build) or not os.access(build, os.W_OK):
        return temporary
    folder = os.path.join(build, "bench", "compiled")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return temporary
    return folder if os.access(folder, os.W_OK) else temporary


def is_current(program, source):
    headers = [path for where in ("", "workloads", "limits") for path in glob.glob(os.path.join(HERE, where, "*.h"))]
    return (os.access(program, os.X_OK) and
            os.path.getmtime(program) > max(os.path.getmtime(path) for path in headers + [source]))


def compiler():
    command = os.environ.get("CC", "").split() or ["cc"]
    if not shutil.which(command[0]):
        raise BenchError(f"no C compiler '{command[0]}' to build the benchmark programs with (CC names another)")
    return command


def compile_one(source, program, flags):
    fresh = f"{program}.{os.getpid()}.tmp"  # another run may be using or making the same file
    done = subprocess.run([*compiler(), *flags, "-I", HERE, "-o", fresh, source, "-lm"], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.strip().splitlines()
        raise NotCompiled(f"cannot compile {os.path.relpath(source, SOURCE)}: {(said or ['no message'])[0]}")
    os.replace(fresh, program)


def find(name, folder):
    """The path of a program - "meter", or a name in workloads/ - or of a library, "bump.so", in limits/."""
    stem, suffix = os.path.splitext(name)
    where = "" if name == "meter" else "limits" if suffix else "workloads"
    source = os.path.join(HERE, where, stem + ".c")
    program = os.path.join(folder, name)
    if not os.path.exists(source):
        raise NotCompiled(f"there is no {os.path.relpath(source, SOURCE)}")
    if not is_current(program, source):
        compile_one(source, program, LIBRARY_FLAGS if suffix else PROGRAM_FLAGS)
    return program

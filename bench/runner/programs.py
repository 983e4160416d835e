"""The compiled bench/*.c: those of the build where they are there and up to date, compiled here where not."""

import glob
import os
import shutil
import subprocess

from .errors import BenchError

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # bench/
SOURCE = os.path.dirname(HERE)


def build_folders():
    """The build directories of the source tree, the newest first; the tree itself comes last."""
    folders = [path for path in glob.glob(os.path.join(SOURCE, "build*")) if os.path.isdir(path)]
    return sorted(folders, key=os.path.getmtime, reverse=True) + [SOURCE]


def is_current(program, source):
    headers = glob.glob(os.path.join(HERE, "*.h"))
    return (os.access(program, os.X_OK) and
            os.path.getmtime(program) >= max(os.path.getmtime(path) for path in headers + [source]))


def find(build, wanted, folder):
    """{name: path} of the wanted programs. What the build lacks is compiled into folder."""
    found = {}
    for name in wanted:
        source = os.path.join(HERE, name + ".c")
        built = os.path.join(build, "bench", name)
        found[name] = built if is_current(built, source) else compile_one(name, source, folder)
    return found


def compile_one(name, source, folder):
    compiler = os.environ.get("CC", "cc").split()
    program = os.path.join(folder, name)
    if not shutil.which(compiler[0]):
        raise BenchError(f"{name} is not built, and there is no C compiler '{compiler[0]}' to build it with")
    done = subprocess.run(compiler + ["-std=c11", "-O2", "-pthread", "-o", program, source],
                          capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"cannot compile {source}: {(done.stderr.strip().splitlines() or ['no message'])[0]}")
    return program

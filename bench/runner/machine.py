"""What the figures were measured on, and with which versions: for the JSON file and the page."""

import os
import platform
import re
import subprocess
import sys


ASK_QUARRY = """import ctypes, sys
version = ctypes.CDLL(sys.argv[1]).quarry_version
version.restype = ctypes.c_char_p
print(version().decode())"""


def read(path, default=""):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return default


def said_by(*command):
    """The first line that a command prints, or "" where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def processor():
    match = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", read("/proc/cpuinfo"), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def memory_bytes(key):
    match = re.search(rf"^{key}:\s+(\d+) kB", read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0


def gib(key):
    return f"{memory_bytes(key) / (1 << 30):.1f}"


def system():
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.MULTILINE)
    return match.group(1) if match else ""


def usable_processors():
    return len(os.sched_getaffinity(0))


def describe():
    """{what: text}, in the order of the page."""
    chosen = re.search(r"\[(\w+)\]", read("/sys/kernel/mm/transparent_hugepage/enabled"))
    facts = {
        "processor": f"{processor()} ({platform.machine()}), {usable_processors()} usable",
        "memory": f"{gib('MemTotal')} GiB, {gib('MemAvailable')} available",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": system(),
        "virtual": said_by("systemd-detect-virt"),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "huge pages": chosen.group(1) if chosen else "",
        "overcommit": read("/proc/sys/vm/overcommit_memory"),
        "load at the start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "compiler": said_by(*(os.environ.get("CC", "").split() or ["cc"]), "--version"),
        "Python": platform.python_version(),
    }
    return {what: text for what, text in facts.items() if text}


def package_of(path):
    """Debian's package and version of a file, or ""."""
    for name in (path, os.path.realpath(path), re.sub("^/usr", "", path)):
        owner = said_by("dpkg-query", "-S", name).split(": ")[0].split(",")[0]
        if owner:
            return said_by("dpkg-query", "-W", "-f", "${Package} ${Version}", owner)
    return ""


def version_of(name, path):
    if not path:
        return " ".join(platform.libc_ver())
    if name == "quarry":
        return said_by(sys.executable, "-c", ASK_QUARRY, path)
    return package_of(path)


def is_busy():
    """A machine that does something else already measures that too."""
    return os.getloadavg()[0] > 0.5 * usable_processors()

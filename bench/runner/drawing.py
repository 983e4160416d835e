"""Starts pictures.py under an interpreter that has matplotlib: not every one has, and the pictures can do without."""

import json
import os
import re
import subprocess
import sys

from .programs import HERE

INTERPRETERS = (sys.executable, "/usr/bin/python3")  # the system's own is the one that its packages are for
MODULE = "matplotlib"
SECONDS = 300
PICTURE = re.compile(r"(means|threads|blocks|latency|(time|peak|memory)-\w+)\.(svg|png)")


def interpreter():
    """The first with matplotlib, or None."""
    for python in dict.fromkeys(INTERPRETERS):
        ask = f"import importlib.util, sys; sys.exit(importlib.util.find_spec('{MODULE}') is None)"
        try:
            if subprocess.run([python, "-c", ask], capture_output=True, timeout=30).returncode == 0:
                return python
        except (OSError, subprocess.TimeoutExpired):
            pass
    return None


def draw(json_path, folder, tell):
    """Draws NAME.svg and NAME.png; returns {name: {"title", "about", "section"}} in the order of the page. Those of an
    earlier run go: they would show something else than the page."""
    for name in os.listdir(folder):
        if PICTURE.fullmatch(name):
            os.unlink(os.path.join(folder, name))
    python = interpreter()
    if not python:
        tell(f"no pictures: {' and '.join(dict.fromkeys(INTERPRETERS))} have no {MODULE} (Debian: python3-{MODULE})")
        return {}
    try:
        done = subprocess.run([python, "-B", "-m", "runner.pictures", json_path, folder], cwd=HERE, capture_output=True,
                              text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        tell(f"no pictures: not drawn after {SECONDS} s")
        return {}
    if done.returncode:
        tell(f"no pictures: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
        return {}
    return json.loads(done.stdout)

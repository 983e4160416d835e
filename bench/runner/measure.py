"""One command under one allocator, and rounds of them."""

import os
import re
import signal
import statistics
import subprocess
import tempfile
from dataclasses import dataclass

from .errors import BenchError

RESULT = re.compile(r"^RESULT ([A-Za-z]\w*)=([-+0-9.eE]+)(?: (\S+))?$", re.MULTILINE)
OWN_FIGURE = "result:"  # before the keys of what a program says of itself


class Failed(Exception):
    """The measured command itself failed: it gets a place in the table, the others go on."""


@dataclass
class Job:
    """A workload that is ready to run: its command with its input made, in a folder of its own."""
    workload: object
    command: list
    folder: str
    meter: str


def run_once(job, preload, seconds, environment=(), watch=None):
    """{key: (value, unit)} of one run. The command's output is kept from the terminal. watch(process), if given, is
    a context manager that is entered while the command runs."""
    variables = dict(os.environ, LC_ALL="C", **job.workload.environment, **dict(environment))
    variables.pop("LD_PRELOAD", None)
    report, writer = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, os.fdopen(report) as answer:
        try:
            # A session of its own, so that a command with children can be ended as a whole.
            process = subprocess.Popen([job.meter, str(writer), preload, *job.command], env=variables,
                                       pass_fds=[writer], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                       start_new_session=True)
        finally:
            os.close(writer)
        try:
            wait(job, process, seconds, watch)
        except (subprocess.TimeoutExpired, BenchError) as error:
            late = isinstance(error, subprocess.TimeoutExpired)
            raise Failed(f"not done after {seconds:.4g} s" if late else str(error)) from None
        finally:
            end(process)
        figures = costs(answer.readline().split(), err)
        out.seek(0)
        text = out.read().decode(errors="replace")
    for key, value, unit in RESULT.findall(text):
        figures[OWN_FIGURE + key] = (float(value), unit or "count")
    return figures


def wait(job, process, seconds, watch):
    def to_the_end():
        if job.workload.companion:
            job.workload.companion(job.folder, process, seconds)
        process.wait(timeout=seconds)
    if not watch:
        return to_the_end()
    with watch(process):
        return to_the_end()


def costs(line, err):
    """The figures in the meter's line."""
    if not line:
        raise Failed(last_line(err) or "the meter wrote nothing")
    if line[0] == "error":
        raise Failed(" ".join(line[1:]))
    wall_ns, user_us, system_us, peak_kib, faults, status = map(int, line)
    if status:
        died = f"signal {signal_name(status - 128)}" if status > 128 else f"status {status}"
        raise Failed(f"{died}; {last_line(err)}".rstrip("; "))
    return {"wall": (wall_ns / 1e9, "s"), "cpu": ((user_us + system_us) / 1e6, "s"),
            "peak": (peak_kib / 1024, "MiB"), "faults": (faults, "count")}


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(file):
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:80] if lines else ""


def one_round(job, allocators, results, seconds, progress):
    """{allocator name: figures or the text of a failure}: each allocator once, but for those that failed before."""
    done = {}
    for allocator in allocators:
        if failed(results, allocator.name):
            continue
        progress(allocator.name)
        try:
            done[allocator.name] = run_once(job, allocator.preload_for(job.workload), seconds())
        except Failed as failure:
            done[allocator.name] = str(failure)
    return done


def failed(results, name):
    return results.get(name, {}).get("failed")


def record(results, done, counts):
    """Adds a whole round to {allocator name: {"samples": {key: [values]}, "units", "medians", "failed"}}. A round is
    added as a whole or not at all: every allocator has as many samples as the others. counts: False for a warm-up."""
    for name, figures in done.items():
        result = results.setdefault(name, {"samples": {}, "units": {}, "medians": {}, "failed": None})
        if isinstance(figures, str):
            result.update(samples={}, units={}, medians={}, failed=figures)
        elif counts:
            for key, (value, unit) in figures.items():
                result["samples"].setdefault(key, []).append(value)
                result["units"][key] = unit
                result["medians"][key] = statistics.median(result["samples"][key])

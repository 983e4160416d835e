"""One command under one allocator, and rounds of them."""

import os
import re
import signal
import statistics
import subprocess
import tempfile

from .errors import BenchError

RESULT = re.compile(r"^RESULT ([A-Za-z]\w*)=([-+0-9.eE]+)(?: (\S+))?$", re.MULTILINE)


class Failed(Exception):
    """The measured command itself failed: it gets a place in the table, the others go on."""


def run_once(meter, command, preload, workload, folder, seconds):
    """{metric key: (value, unit)} of one run. The command's output is kept from the terminal."""
    environment = dict(os.environ, LC_ALL="C", **workload.environment)
    environment.pop("LD_PRELOAD", None)
    report, writer = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, os.fdopen(report) as answer:
        # A session of its own, so that a command with children can be ended as a whole.
        process = subprocess.Popen([meter, str(writer), preload, *command], env=environment, pass_fds=[writer],
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        os.close(writer)
        try:
            if workload.companion:
                workload.companion(folder, process, seconds)
            process.wait(timeout=seconds)
        except (subprocess.TimeoutExpired, BenchError) as error:
            late = isinstance(error, subprocess.TimeoutExpired)
            raise Failed(f"not done after {seconds:g} s" if late else str(error)) from None
        finally:
            end(process)
        line = answer.readline().split()
        if not line:
            raise Failed(last_line(err) or "the meter wrote nothing")
        if line[0] == "error":
            raise Failed(" ".join(line[1:]))
        wall_ns, user_us, system_us, peak_kib, faults, status = map(int, line)
        if status:
            died = f"signal {signal.Signals(status - 128).name}" if status > 128 else f"status {status}"
            raise Failed(f"{died}; {last_line(err)}".rstrip("; "))
        out.seek(0)
        text = out.read().decode(errors="replace")
    figures = {"wall": (wall_ns / 1e9, "s"), "cpu": ((user_us + system_us) / 1e6, "s"),
               "peak": (peak_kib / 1024, "MiB"), "faults": (faults, "count")}
    for key, value, unit in RESULT.findall(text):
        figures["result:" + key] = (float(value), unit or "count")
    return figures


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_line(file):
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:80] if lines else ""


def measure(meter, workload, command, allocators, folder, rounds, warmups, seconds, progress):
    """{allocator name: {"samples": {key: [values]}, "units": {key: unit}, "failed": text or None}}.

    Interleaved, A B C A B C: a machine that slows down slows all alike. An allocator that failed is left out of the
    rounds that follow."""
    results = {allocator.name: {"samples": {}, "units": {}, "failed": None} for allocator in allocators}
    for number in range(-warmups, rounds):
        for allocator in allocators:
            result = results[allocator.name]
            if result["failed"]:
                continue
            progress(workload.name, allocator.name, number)
            try:
                figures = run_once(meter, command, allocator.preload_for(workload), workload, folder, seconds)
            except Failed as failure:
                result["failed"] = str(failure)
                continue
            if number < 0:
                continue
            for key, (value, unit) in figures.items():
                result["samples"].setdefault(key, []).append(value)
                result["units"][key] = unit
    for result in results.values():
        result["medians"] = {} if result["failed"] else {
            key: statistics.median(values) for key, values in result["samples"].items()}
    return results

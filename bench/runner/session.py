"""The way through the workloads: warm-up, rounds, limits, curves, latency. Keeps the document of all figures, which is
the JSON file: whatever is shown later comes from there."""

import contextlib
import json
import os
import re
import tempfile
import time

from . import curves, latency, limits, machine, measure, programs, quick, suite
from .errors import BenchError
from .progress import Progress

FORMAT = 1  # of the JSON file
SECONDS_GUESSED = {"real": 3.0}  # of one run, by group
SECONDS_GUESSED_OTHERS = 0.6
SECONDS_GUESSED_LIVE = {"1e7": 3.0, "1e8": 15.0}  # by the end of the name
LIMITS_STAGE = "limits"


def document(options, allocators):
    """What is known before the first run."""
    return {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine.describe(),
        "busy": machine.is_busy(),
        "quick": options.quick,
        "rounds": options.rounds,
        "warmup": options.warmup,
        "complete": False,
        "bump_bytes": 0,
        "allocators": {allocator.name: {"path": allocator.path,
                                        "version": machine.version_of(allocator.name, allocator.path)}
                       for allocator in allocators},
        "groups": {"command": "one command"} if options.command else suite.GROUPS,
        "workloads": [],
        "skipped": {},
        "latency": {},
    }


def load(path):
    try:
        with open(path) as file:
            data = json.load(file)
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BenchError(f"{path} is no JSON file: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise BenchError(f"{path} holds no results of bench/compare, or of another version (format {FORMAT} is known)")
    return data


def save(path, data):
    """All or nothing: a reader never sees half a file, and an interrupted run loses one workload at most."""
    fresh = f"{path}.{os.getpid()}.tmp"
    try:
        with open(fresh, "w") as file:
            json.dump(data, file, indent=None, separators=(",", ":"))
            file.write("\n")
        os.replace(fresh, path)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from None


def keep_earlier(path):
    """Gives the figures of an earlier run, if there are any, a name with their date; returns them, or None."""
    try:
        earlier = load(path)
    except BenchError:
        return None
    stem, suffix = os.path.splitext(path)
    os.replace(path, f"{stem}-{re.sub('[^0-9]+', '-', str(earlier.get('date', 'earlier')))}{suffix}")
    return earlier


def guess(workload):
    return SECONDS_GUESSED_LIVE.get(workload.name[-3:]) or SECONDS_GUESSED.get(workload.group, SECONDS_GUESSED_OTHERS)


def expectations(workloads, earlier):
    """{workload name: (seconds of one run, seconds of both limits)}. earlier: the document of an earlier run, or None."""
    entries = {entry["name"]: entry for entry in (earlier or {}).get("workloads", [])}
    expected = {}
    for workload in workloads:
        entry = entries.get(workload.name, {"results": {}, "limits": {}})
        walls = [result["medians"]["wall"] for result in entry["results"].values() if "wall" in result["medians"]]
        each = sum(walls) / len(walls) if walls else guess(workload)
        expected[workload.name] = each, each + entry["limits"].get("bump", {}).get("wall", 3 * each)
    return expected


class Session:
    def __init__(self, options, allocators, workloads, folder, compiled, earlier, finished):
        """folder: for temporary files; compiled: for programs; finished(entry) is called after each workload."""
        self.options, self.allocators, self.workloads = options, allocators, workloads
        self.folder, self.compiled, self.finished = folder, compiled, finished
        self.data = document(options, allocators)
        self.expected = expectations(workloads, earlier)
        self.meter = programs.find("meter", compiled)
        self.limits = limits.Limits(compiled, folder)
        self.data["bump_bytes"] = self.limits.bump_bytes
        self.progress = Progress(sum(map(self.expected_of, workloads)))
        self.deadline = None
        self.running = 0.0  # what the run that is under way was expected to take

    # --- time

    def expected_of(self, workload):
        """Seconds for all runs of a workload."""
        each = len(self.allocators) * (self.options.rounds + self.options.warmup + self.draws_curve(workload))
        run, limit = self.expected[workload.name]
        return run * each + limit * self.options.limits

    def draws_curve(self, workload):
        return self.options.curves and curves.wanted(workload)

    def seconds(self):
        """How long the next run may take."""
        if self.deadline is None:
            return self.options.timeout
        return max(0.1, min(self.options.timeout, self.deadline - time.monotonic()))

    def is_over(self):
        return self.deadline is not None and time.monotonic() >= self.deadline

    def step(self, workload, stage):
        """The function that is told of each run."""
        def progress(allocator):
            self.progress.finished(self.running)
            run, limit = self.expected.get(workload.name, (SECONDS_GUESSED_OTHERS, 0))
            self.running = limit if stage == LIMITS_STAGE else run
            self.progress.show(f"{workload.name}: {stage}, {allocator}")
        return progress

    # --- one workload

    @contextlib.contextmanager
    def prepared(self, workload):
        """The job, or None for a workload that cannot run here; then it says why."""
        missing = workload.missing()
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            job = None
            try:
                if missing:
                    raise BenchError(f"{missing[0]} is not installed")
                self.progress.show(f"{workload.name}: making its input")
                command = workload.command(place) if callable(workload.command) else list(workload.command)
                if workload.own:
                    command[0] = programs.find(command[0], self.compiled)
                job = measure.Job(workload, command, place, self.meter)
            except BenchError as error:
                self.data["skipped"][workload.name] = str(error)
            yield job

    def entry_of(self, workload):
        return {"name": workload.name, "about": workload.about, "group": workload.group,
                "brings_allocator": workload.brings_allocator, "rounds": 0, "results": {}, "limits": {}, "curves": {}}

    def round(self, job, entry, stage):
        """One round, recorded unless time ran out in it. A warm-up doesn't count."""
        done = measure.one_round(job, self.allocators, entry["results"], self.seconds,
                                 self.step(job.workload, stage))
        if self.is_over():
            return
        counts = stage != "warm-up"
        measure.record(entry["results"], done, counts)
        entry["rounds"] += counts
        if entry["rounds"] == 1 and counts:
            self.data["workloads"].append(entry)

    def extras(self, job, entry):
        """The limits and the curve: one run each, outside the rounds."""
        if self.options.limits:
            self.step(job.workload, LIMITS_STAGE)("never freeing, live bytes")
            entry["limits"] = self.limits.measure(job, self.seconds())
        if self.draws_curve(job.workload):
            entry["curves"] = curves.measure_all(job, self.allocators, entry["results"], self.seconds,
                                                 self.step(job.workload, "memory over time"))

    # --- all of them

    def run(self):
        if self.options.quick:
            self.run_quick()
        else:
            for workload in self.workloads:
                self.run_one(workload)
            if self.options.latency:
                self.run_latency()
        self.data["complete"] = True

    def run_one(self, workload):
        after = self.progress.done + self.expected_of(workload)
        with self.prepared(workload) as job:
            if job:
                entry = self.entry_of(workload)
                for _ in range(self.options.warmup):
                    self.round(job, entry, "warm-up")
                for number in range(self.options.rounds):
                    self.round(job, entry, f"round {number + 1}")
                self.extras(job, entry)
                self.finished(entry)
        self.progress.done, self.running = after, 0.0

    def run_quick(self):
        """Rounds over all workloads: when time is over, each has had about as many as the others."""
        self.deadline = self.options.started + quick.SECONDS - quick.DRAWING_SECONDS
        self.progress.deadline = self.deadline
        with contextlib.ExitStack() as kept:
            jobs = [kept.enter_context(self.prepared(workload)) for workload in self.workloads]
            pairs = [(job, self.entry_of(job.workload)) for job in jobs if job]
            took = {}
            for number in range(self.options.rounds):
                for job, entry in pairs:
                    start = time.monotonic()
                    if start + took.get(entry["name"], 0) < self.deadline:
                        self.round(job, entry, f"round {number + 1}")
                        took[entry["name"]] = time.monotonic() - start
            for job, entry in pairs:
                if not entry["rounds"]:
                    self.data["skipped"][entry["name"]] = "no time was left for it"
                    continue
                each = took[entry["name"]] / len(self.allocators)
                if time.monotonic() + 4 * each < self.deadline:
                    self.extras(job, entry)
                self.finished(entry)

    def run_latency(self):
        if not latency.exists():
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            try:
                work = latency.job(programs.find(latency.NAME, self.compiled), place, self.meter)
            except BenchError as error:
                self.data["skipped"][latency.NAME] = str(error)
                return
            self.data["latency"] = latency.measure_all(work, self.allocators, self.seconds,
                                                       self.step(work.workload, "single calls"))

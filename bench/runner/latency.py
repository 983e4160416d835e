"""The histogram of single calls: bench/workloads/latency.c under each allocator, three times in turn."""

import json
import os
import statistics

from . import measure, programs
from .workload import Workload

NAME = "latency"
RUNS = 3
KINDS = ("malloc", "free", "noise")
POINTS = ("p50", "p99", "p999", "p9999", "max")  # in ns


def exists():
    return os.path.exists(os.path.join(programs.HERE, "workloads", NAME + ".c"))


def job(program, folder, meter):
    workload = Workload(NAME, "single calls of malloc and free, timed", "", [program], own=True)
    return measure.Job(workload, [program], folder, meter)


def measure_all(work, allocators, seconds, progress):
    """{allocator name: {kind: {"buckets": [[ns, count]], "p50", ...}} or {"failed": text}}"""
    runs = {allocator.name: [] for allocator in allocators}
    failures = {}
    file = os.path.join(work.folder, "latency.json")
    work.command = [work.command[0], "--json", file]
    for _ in range(RUNS):
        for allocator in allocators:
            if allocator.name in failures:
                continue
            progress(allocator.name)
            try:
                measure.run_once(work, allocator.path, seconds())
                with open(file) as written:
                    runs[allocator.name].append(json.load(written))
            except (measure.Failed, OSError, ValueError) as failure:
                failures[allocator.name] = {"failed": str(failure)}
    return {name: failures.get(name) or merged(done) for name, done in runs.items()}


def merged(runs):
    """Buckets added up; of the points the medians."""
    result = {}
    for kind in KINDS:
        parts = [run[kind] for run in runs if kind in run]
        if not parts:
            continue
        buckets = {}
        for part in parts:
            for nanoseconds, count in part.get("buckets", []):
                buckets[nanoseconds] = buckets.get(nanoseconds, 0) + count
        result[kind] = {"buckets": sorted(map(list, buckets.items()))}
        for point in POINTS:
            values = [part[point] for part in parts if point in part]
            if values:
                result[kind][point] = statistics.median(values)
    return result

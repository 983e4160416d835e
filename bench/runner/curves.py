"""Resident memory over time: one more run under each allocator, watched from outside and not measured."""

import contextlib
import glob
import os
import threading
import time

from . import measure

STEP_SECONDS = 0.01
FAMILY_STEPS = 10  # steps between two looks for new children
POINTS_MOST = 400  # of a curve that is kept
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def wanted(workload):
    return workload.group in ("aging", "real") or workload.name.startswith("prodcons")


def children_of(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:
            found += [int(child) for child in file.read().split()]
    return found


def descendants(pid):
    found = children_of(pid)
    for child in found:  # grows as it is gone through
        found += children_of(child)
    return found


def resident_mib(pids):
    """Pages that processes share count in each of them, as in the figures of ps."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm") as file:
            pages += int(file.read().split()[1])
    return pages * PAGE_MIB


class Watch:
    """Samples the children of a process - the meter, which does not count - until it is told to stop."""

    def __init__(self):
        self.points = []
        self.over = threading.Event()

    @contextlib.contextmanager
    def __call__(self, process):
        thread = threading.Thread(target=self.sample, args=(process.pid,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()

    def sample(self, meter):
        start = time.monotonic()
        family, steps = [], 0
        while not self.over.is_set():
            if steps % FAMILY_STEPS == 0 or not family:
                family = descendants(meter)
            seconds = time.monotonic() - start
            mib = resident_mib(family)
            if mib:
                self.points.append((round(seconds, 3), round(mib, 2)))
            steps += 1
            self.over.wait(max(0.0, start + steps * STEP_SECONDS - time.monotonic()))


def thinned(points):
    """At most POINTS_MOST points: of each stretch the highest, so that no peak is lost."""
    each = -(-len(points) // POINTS_MOST) or 1
    return [max(points[at:at + each], key=lambda point: point[1]) for at in range(0, len(points), each)]


def measure_all(job, allocators, results, seconds, progress):
    """{allocator name: [(seconds, MiB)]}"""
    curves = {}
    for allocator in allocators:
        if measure.failed(results, allocator.name):
            continue
        progress(allocator.name)
        watch = Watch()
        with contextlib.suppress(measure.Failed):  # it ran before; the table has told whatever is to be told
            measure.run_once(job, allocator.preload_for(job.workload), seconds(), watch=watch)
            curves[allocator.name] = thinned(watch.points)
    return curves

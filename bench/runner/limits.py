"""Two limits to hold a workload against: an allocator that never frees, and the bytes that are live.

Each is a library in bench/limits/ that is preloaded for one run of its own."""

import os
import struct

from . import machine, measure
from .errors import BenchError
from .programs import find

BUMP_SECONDS = 20  # fresh memory is slow; what takes longer is no limit to hold anything against
BUMP_SHARE = 0.6  # of the memory that is available, for never freeing


class Limits:
    def __init__(self, folder, temporary):
        """Compiles the libraries; one that cannot be compiled is a limit without figures."""
        self.libraries, self.why = {}, {}
        for name in ("bump", "live"):
            try:
                self.libraries[name] = find(name + ".so", folder)
            except BenchError as error:
                self.why[name] = str(error)
        self.bump_bytes = int(machine.memory_bytes("MemAvailable") * BUMP_SHARE)
        self.file = os.path.join(temporary, "live-bytes")

    def measure(self, job, seconds):
        """{"bump": {"wall", "cpu", "peak", "faults"} or {"why"}, "live": {"peak"} or {"why"}}"""
        return {"bump": self.guarded("bump", self.bump, job, seconds),
                "live": self.guarded("live", self.live, job, seconds)}

    def guarded(self, name, function, job, seconds):
        if name not in self.libraries:
            return {"why": self.why[name]}
        try:
            return function(job, seconds)
        except measure.Failed as failure:
            return {"why": str(failure)}

    def bump(self, job, seconds):
        figures = measure.run_once(job, self.libraries["bump"], min(seconds, BUMP_SECONDS),
                                   {"QUARRY_BENCH_BUMP_BYTES": str(self.bump_bytes)})
        return {key: figures[key][0] for key in ("wall", "cpu", "peak", "faults")}

    def live(self, job, seconds):
        with open(self.file, "wb") as file:
            file.write(bytes(8))
        measure.run_once(job, self.libraries["live"], seconds, {"QUARRY_BENCH_LIVE_FILE": self.file})
        with open(self.file, "rb") as file:
            peak = struct.unpack("@N", file.read(struct.calcsize("@N")))[0]
        return {"peak": peak / (1 << 20)} if peak else {"why": "the program asked for nothing"}

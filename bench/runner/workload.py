"""What a workload is."""

import shutil
from dataclasses import dataclass, field


@dataclass
class Workload:
    name: str
    about: str
    group: str
    command: list  # or a function of the temporary folder that makes the input and returns the command
    needs: tuple = ()  # programs that must be installed
    own: bool = False  # the command's first word names a bench/workloads/*.c
    environment: dict = field(default_factory=dict)
    brings_allocator: str = ""  # the allocator that the program is linked with, where that is not the C library's
    companion: object = None  # called while the command runs: companion(folder, process, seconds)

    def missing(self):
        """The programs that this workload needs and that are not installed."""
        return [name for name in self.needs if not shutil.which(name)]

"""What --quick measures: some workloads of every group, in rounds over all of them, until two minutes are over."""

SECONDS = 120
DRAWING_SECONDS = 15  # kept of these for the pictures and the page
ROUNDS = 3

# One of each group first: on a slow or busy machine a round may not come to the end of the list.
WORKLOADS = ["replace-1e4", "scale-2", "midlarge-64K-1M", "server-long-tail", "python-malloc",
             "lifo-1e5", "tree-random", "strings", "prodcons-1-1"]


def choose(workloads):
    return [workload for name in WORKLOADS for workload in workloads if workload.name == name]

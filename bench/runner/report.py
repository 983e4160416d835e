"""Metrics, ratios to the peers, the table, the check and the summary."""

import math
from dataclasses import dataclass

SUBJECT = "quarry"
COLUMNS_AT_ONCE = 6  # 34 + 6 * 14 characters: fits 120 columns
NAME_WIDTH, METRIC_WIDTH, VALUE_WIDTH, RATIO_WIDTH = 17, 17, 8, 6
TIME_UNITS = ("ns", "us", "ms", "s")
MEMORY_UNITS = ("KiB", "MiB", "GiB", "KB", "MB", "B")


@dataclass
class Metric:
    key: str      # as in the figures: wall, cpu, peak, faults, result:KEY
    label: str    # as in the table
    kind: str     # time, rate, memory or count
    checked: bool

    def ratio(self, value, reference):
        """How many times worse than the reference: below 1 is better, for rates too."""
        worse, better = (reference, value) if self.kind == "rate" else (value, reference)
        if not better:
            return 1.0 if not worse else math.inf
        return worse / better

    def best(self, values):
        return max(values) if self.kind == "rate" else min(values)


def kind_of(key, unit):
    if key.endswith("_per_s"):
        return "rate"
    return "time" if unit in TIME_UNITS else "memory" if unit in MEMORY_UNITS else "count"


def metrics_of(results):
    """The rows of one workload. What the program itself reports is checked; when it reports nothing, its CPU time is.
    The peak of memory always is."""
    units = {key: unit for result in results.values() for key, unit in result["units"].items()}
    own = []
    for key, unit in units.items():
        if key.startswith("result:"):
            name = key.split(":", 1)[1]
            kind = kind_of(name, unit)
            label = name if kind in ("rate", "count") else f"{name} {unit}"
            own.append(Metric(key, label, kind, kind != "count"))
    return own + [Metric("wall", "wall s", "time", False), Metric("cpu", "cpu s", "time", not own),
                  Metric("peak", "peak MiB", "memory", True), Metric("faults", "minor faults", "count", False)]


def reference(metric, results):
    """The best peer's median: of all allocators but Quarry. None when there is no peer."""
    values = [result["medians"][metric.key] for name, result in results.items()
              if name != SUBJECT and metric.key in result["medians"]]
    return metric.best(values) if values else None


def number(value):
    if value >= 1e8:
        return f"{value:.2e}"
    digits = 0 if value >= 1000 or value == int(value) else 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f}"


def ratio_text(value):
    return f"{value:.2f}" if value < 100 else ">99"


# --- the table -----------------------------------------------------------------------------------------------------

def columns(names):
    return [names[at:at + COLUMNS_AT_ONCE] for at in range(0, len(names), COLUMNS_AT_ONCE)]


def header(names):
    width = VALUE_WIDTH + RATIO_WIDTH
    line = " " * (NAME_WIDTH + METRIC_WIDTH) + "".join(f"{name[:width - 1]:>{width}}" for name in names)
    return line + "\n" + "-" * len(line)


def cell(metric, result, best):
    if result["failed"]:
        return f"{'failed':>{VALUE_WIDTH}}{'':{RATIO_WIDTH}}"
    value = result["medians"].get(metric.key)
    if value is None:
        return f"{'-':>{VALUE_WIDTH}}{'':{RATIO_WIDTH}}"
    ratio = "" if best is None or metric.kind == "count" else ratio_text(metric.ratio(value, best))
    return f"{number(value):>{VALUE_WIDTH}}{ratio:>{RATIO_WIDTH}}"


def rows(workload, results, names, brief):
    """The lines of one workload for these columns. A star marks what --check compares."""
    lines = []
    for metric in metrics_of(results):
        if brief and not metric.checked:
            continue
        name = workload.name[:NAME_WIDTH - 1] if not lines else ""
        label = metric.label[:METRIC_WIDTH - 3] + (" *" if metric.checked else "")
        best = reference(metric, results)
        lines.append(f"{name:{NAME_WIDTH}}{label:{METRIC_WIDTH}}" +
                     "".join(cell(metric, results[n], best) for n in names).rstrip())
    for name in names:
        if results[name]["failed"]:
            lines.append(f"{'':{NAME_WIDTH}}{name} failed: {results[name]['failed']}")
    return "\n".join(lines)


# --- the check -----------------------------------------------------------------------------------------------------

def violations(workload, results, limit):
    """One line for each checked row in which Quarry is more than limit times the best peer."""
    subject = results[SUBJECT]
    if subject["failed"]:
        return [f"{workload.name}: {SUBJECT} failed: {subject['failed']}"]
    lines = []
    for metric in metrics_of(results):
        best = reference(metric, results)
        value = subject["medians"].get(metric.key)
        if not metric.checked or best is None or value is None:
            continue
        ratio = metric.ratio(value, best)
        if ratio > limit:
            lines.append(f"{workload.name}: {metric.label} is {ratio_text(ratio)} times the best peer's"
                         f" ({number(value)} against {number(best)})")
    return lines


# --- the summary ---------------------------------------------------------------------------------------------------

def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def score(results, name, base, kinds):
    """Geometric mean of name's ratios to base over the checked metrics of these kinds: one number per workload, so that
    a program that reports four figures counts no more than one that reports one. None if there is no such figure."""
    ratios = []
    for metric in metrics_of(results):
        if not metric.checked or metric.kind not in kinds or (metric.key.startswith("result:")
                                                              and metric.kind == "memory"):
            continue
        value, against = (results[n]["medians"].get(metric.key) for n in (name, base))
        if value and against:
            ratios.append(metric.ratio(value, against))
    return geometric_mean(ratios)


def summary(finished, names):
    """The geometric means, of own and of real programs, over the workloads in which no allocator failed. finished: pairs (workload, results)."""
    base = "libc" if "libc" in names else names[0]
    lines = []
    for what, own in (("own", True), ("real", False)):
        for label, kinds in (("time", ("time", "rate")), ("peak", ("memory",))):
            table = [[score(results, name, base, kinds) for name in names]
                     for workload, results in finished if workload.own == own]
            table = [line for line in table if None not in line]
            if table:
                means = [geometric_mean([line[i] for line in table]) for i in range(len(names))]
                lines.append((f"{label}, {len(table)} {what} programs", means))
    if not lines:
        return ""
    text = [f"Geometric means relative to {base} (lower is better; programs for which every allocator has a figure):"]
    for group in columns(names):
        text.append(header(group))
        for label, means in lines:
            text.append(f"{label:{NAME_WIDTH + METRIC_WIDTH}}" + "".join(
                f"{means[names.index(n)]:>{VALUE_WIDTH}.3f}{'':{RATIO_WIDTH}}" for n in group).rstrip())
    return "\n".join(text)

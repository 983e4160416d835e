"""Figures and ratios from the document of results; the tables, the geometric means and the check.

The document is what session.py keeps and what the JSON file holds. A ratio says how many times worse: below 1 is
better."""

import math
from dataclasses import dataclass

from .measure import OWN_FIGURE

SUBJECT = "quarry"
BASE = "libc"  # of the geometric means, where it was measured
NEAR = 1.1  # times the fastest: as good as it
PEAK_SLACK_MIB = 300 / 1024  # more than the leanest peer's that --check bears, whatever the ratio
TIME_GOAL = 0.93  # of the best single peer's geometric mean over all workloads
COLUMNS_AT_ONCE = 7  # 19 + 7 * 12 + 10 characters fit in 120 columns
NAME_WIDTH, VALUE_WIDTH, RATIO_WIDTH, LIMIT_WIDTH = 19, 7, 5, 10
LABEL_WIDTH, MEAN_WIDTH = 21, 10  # of the geometric means


@dataclass(frozen=True)
class Metric:
    key: str         # as in the figures
    title: str       # above its table
    unit: str
    limit: str = ""  # which of the two limits stands beside it
    compared: bool = True


WALL = Metric("wall", "wall time, s", "s", "bump")
CPU = Metric("cpu", "CPU time, s", "s", "bump")
PEAK = Metric("peak", "peak RSS, MiB", "MiB", "live")
FAULTS = Metric("faults", "minor faults", "", compared=False)
METRICS = [WALL, PEAK, CPU, FAULTS]
AVERAGED = [WALL, CPU, PEAK]


# --- figures -------------------------------------------------------------------------------------------------------

def names_of(data):
    return list(data["allocators"])


def figure(entry, name, metric):
    """The median, or None."""
    return entry["results"].get(name, {}).get("medians", {}).get(metric.key)


def failure(entry, name):
    return entry["results"].get(name, {}).get("failed")


def limit_of(entry, metric):
    """The figure of the limit that stands beside this metric, or None."""
    return entry["limits"].get(metric.limit, {}).get(metric.key)


def best(entry, metric, names):
    """(value, name) of the lowest among these allocators, or (None, "")."""
    values = [(figure(entry, name, metric), name) for name in names if figure(entry, name, metric) is not None]
    return min(values) if values else (None, "")


def peers(names):
    return [name for name in names if name != SUBJECT]


def ratio(value, reference):
    if not reference:
        return 1.0 if not value else math.inf
    return value / reference


def in_groups(data):
    """[(group, its description, its entries)] without the empty ones."""
    grouped = [(group, about, [entry for entry in data["workloads"] if entry["group"] == group])
               for group, about in data["groups"].items()]
    return [row for row in grouped if row[2]]


# --- texts ---------------------------------------------------------------------------------------------------------

def number(value):
    if value >= 1e6 and value == int(value):
        return f"{value:.0f}" if value < 1e7 else f"{value:.1e}"
    digits = 0 if value >= 1000 or value == int(value) else 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f}"


def ratio_text(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else ">99"


def columns(names):
    return [names[at:at + COLUMNS_AT_ONCE] for at in range(0, len(names), COLUMNS_AT_ONCE)]


def has_limits(data):
    return any(entry["limits"] for entry in data["workloads"])


def header(metric, names, limits):
    width = VALUE_WIDTH + RATIO_WIDTH
    line = f"{metric.title:{NAME_WIDTH}}" + "".join(f"{name[:width - 1]:>{width}}" for name in names)
    if limits and metric.limit:
        line += f"{metric.limit:>{LIMIT_WIDTH}}"
    return line + "\n" + "-" * len(line)


def cell(entry, name, metric, reference):
    if failure(entry, name):
        return f"{'failed':>{VALUE_WIDTH}}{'':{RATIO_WIDTH}}"
    value = figure(entry, name, metric)
    if value is None:
        return f"{'-':>{VALUE_WIDTH}}{'':{RATIO_WIDTH}}"
    compared = metric.compared and reference is not None
    return f"{number(value):>{VALUE_WIDTH}}{ratio_text(ratio(value, reference)) if compared else '':>{RATIO_WIDTH}}"


def row(entry, names, shown, metric, limits):
    """One line: the median and its ratio to the best peer for each allocator shown; and the limit, if limits."""
    reference, _ = best(entry, metric, peers(names))
    line = f"{entry['name'][:NAME_WIDTH - 1]:{NAME_WIDTH}}" + "".join(
        cell(entry, name, metric, reference) for name in shown)
    if limits and metric.limit:
        value = limit_of(entry, metric)
        line += f"{'-' if value is None else number(value):>{LIMIT_WIDTH}}"
    return line.rstrip()


def failures(entry, names):
    return [f"    {name} failed: {failure(entry, name)}" for name in names if failure(entry, name)]


def group_line(data, group):
    return f"{group}: {data['groups'][group]}"


def table(data, metric):
    """All workloads, one line each; more allocators than fit are put below."""
    names, limits = names_of(data), has_limits(data)
    lines = []
    for shown in columns(names):
        lines.append(header(metric, shown, limits))
        for group, _, entries in in_groups(data):
            if len(data["groups"]) > 1:
                lines.append(group_line(data, group))
            for entry in entries:
                lines.append(row(entry, names, shown, metric, limits))
                lines += failures(entry, shown) if metric is WALL else []
        lines.append("")
    return "\n".join(lines).rstrip()


def own_figures(entry):
    """[(key, unit, {name: median})] of what the program says of itself."""
    found = {}
    for name, result in entry["results"].items():
        for key, value in result["medians"].items():
            if key.startswith(OWN_FIGURE):
                found.setdefault((key[len(OWN_FIGURE):], result["units"].get(key, "")), {})[name] = value
    return [(key, unit, values) for (key, unit), values in found.items()]


def own_table(data):
    lines = []
    names = names_of(data)
    width = VALUE_WIDTH + RATIO_WIDTH
    for shown in columns(names):
        line = f"{'said by themselves':{2 * NAME_WIDTH - 6}}" + "".join(f"{name[:width - 1]:>{width}}" for name in shown)
        lines += [line, "-" * len(line)]
        for entry in data["workloads"]:
            for key, unit, values in own_figures(entry):
                label = f"{entry['name'][:NAME_WIDTH - 1]:{NAME_WIDTH}}{f'{key} {unit}'[:NAME_WIDTH - 7]:{NAME_WIDTH - 6}}"
                lines.append(label + "".join(
                    f"{number(values[name]) if name in values else '-':>{VALUE_WIDTH}}{'':{RATIO_WIDTH}}"
                    for name in shown).rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def notes(data):
    """What a reader has to know beside the figures."""
    lines = []
    for entry in data["workloads"]:
        if entry["brings_allocator"] and BASE in data["allocators"]:
            lines.append(f"{entry['name']}: the program is linked with {entry['brings_allocator']}; in the column"
                         f" {BASE}, {BASE} is put before it.")
    lines += [f"{name}: skipped, {why}." for name, why in data["skipped"].items()]
    rounds = sorted({entry["rounds"] for entry in data["workloads"]})
    if rounds and rounds != [data["rounds"]]:
        lines.append(f"Rounds: {'-'.join(str(n) for n in sorted({rounds[0], rounds[-1]}))} of {data['rounds']}, as many"
                     " for each allocator of a workload.")
    if data["busy"]:
        lines.append("The machine was busy when this began: do not believe small differences.")
    if not data["complete"]:
        lines.append("The run was interrupted: these are the workloads that it came to.")
    return lines


# --- geometric means -----------------------------------------------------------------------------------------------

@dataclass
class Mean:
    label: str      # the group, or "all"
    used: int       # workloads in which every allocator has a figure
    total: int      # workloads measured
    means: dict     # {name: geometric mean relative to the base}
    rival: str      # the best single peer, or ""
    against: float  # the subject's mean relative to the rival's, or None


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def present(data):
    """The allocators that have any figure at all."""
    return [name for name in names_of(data)
            if any(figure(entry, name, WALL) is not None for entry in data["workloads"])]


def base_of(data):
    names = present(data)
    return BASE if BASE in names else names[0] if names else ""


def mean_over(data, metric, label, entries):
    """None where no workload has a figure for every allocator."""
    names, base = present(data), base_of(data)
    complete = [entry for entry in entries if all(figure(entry, name, metric) for name in names)]
    if not complete or not names:
        return None
    means = {name: geometric_mean([figure(entry, name, metric) / figure(entry, base, metric) for entry in complete])
             for name in names}
    rivals = [(means[name], name) for name in peers(names)]
    rival = min(rivals)[1] if rivals else ""
    against = means[SUBJECT] / means[rival] if rival and SUBJECT in means else None
    return Mean(label, len(complete), len(entries), means, rival, against)


def means(data, metric):
    """One Mean per group, and the last over all."""
    groups = in_groups(data)
    rows = [mean_over(data, metric, group, entries) for group, _, entries in groups]
    rows.append(mean_over(data, metric, "all", data["workloads"]))
    return [mean for mean in rows if mean]


def mean_lines(data, metric, shown, last):
    lines = []
    for mean in means(data, metric):
        line = f"  {mean.label} ({mean.used} of {mean.total})".ljust(LABEL_WIDTH)
        line += "".join(f"{mean.means[name]:>{MEAN_WIDTH}.3f}" if name in mean.means else f"{'-':>{MEAN_WIDTH}}"
                        for name in shown)
        if last and mean.against is not None:
            line += f"{mean.against:>{MEAN_WIDTH}.3f} of {mean.rival}"
        lines.append(line)
    return lines


def summary(data):
    names = names_of(data)
    if not present(data):
        return "There are no figures."
    lines = [f"Geometric means relative to {base_of(data)}: lower is better. In brackets, for how many workloads every"
             " allocator has a figure."]
    for shown in columns(names):
        last = shown[-1] == names[-1]
        head = f"{'':{LABEL_WIDTH}}" + "".join(f"{name[:MEAN_WIDTH - 1]:>{MEAN_WIDTH}}" for name in shown)
        lines.append(head + ("  quarry against the best" if last and SUBJECT in names and len(names) > 1 else ""))
        for metric in AVERAGED:
            lines += [metric.title.split(",")[0], *mean_lines(data, metric, shown, last)]
    return "\n".join([*lines, "", standing_table(data)])


# --- how each stands in the field ----------------------------------------------------------------------------------

@dataclass
class Standing:
    near: int        # workloads in which it is within NEAR of the best
    total: int       # workloads in which it has a figure
    worst: float     # ratio to the best, and where
    worst_name: str


def standing(data, name, metric):
    """Against the best of all, the allocator itself included."""
    ratios = [(ratio(figure(entry, name, metric), best(entry, metric, names_of(data))[0]), entry["name"])
              for entry in data["workloads"] if figure(entry, name, metric) is not None]
    if not ratios:
        return Standing(0, 0, math.nan, "")
    worst, where = max(ratios)
    return Standing(sum(value <= NEAR for value, _ in ratios), len(ratios), worst, where)


def standing_table(data):
    lines = [f"{f'within {NEAR:g} of the best':{NAME_WIDTH + 5}}{'time':<10}{'worst':<30}{'peak RSS':<10}worst"]
    for name in present(data):
        line = f"  {name[:NAME_WIDTH]:{NAME_WIDTH + 3}}"
        for metric in (WALL, PEAK):
            found = standing(data, name, metric)
            worst = f"{ratio_text(found.worst)} in {found.worst_name}"
            line += f"{f'{found.near} of {found.total}':<10}{worst:<30}"
        lines.append(line.rstrip())
    return "\n".join(lines)


# --- the check -----------------------------------------------------------------------------------------------------

def row_violations(entry, names, limit):
    if failure(entry, SUBJECT):
        return [f"{entry['name']}: {SUBJECT} failed: {failure(entry, SUBJECT)}"]
    lines = []
    for metric, slack in ((WALL, 0), (PEAK, PEAK_SLACK_MIB)):
        value = figure(entry, SUBJECT, metric)
        reference, rival = best(entry, metric, peers(names))
        if value is None or reference is None or value <= max(limit * reference, reference + slack):
            continue
        lines.append(f"{entry['name']}: {metric.title.split(',')[0]} is {ratio_text(ratio(value, reference))} times"
                     f" {rival}'s ({number(value)} against {number(reference)} {metric.unit})")
    return lines


def mean_violations(data):
    lines = []
    wall = {mean.label: mean for mean in means(data, WALL)}
    peak = {mean.label: mean for mean in means(data, PEAK)}
    overall = wall.get("all")
    if overall and overall.against is not None and overall.against > TIME_GOAL:
        lines.append(f"geometric mean of time over all is {overall.against:.3f} of {overall.rival}'s,"
                     f" more than {TIME_GOAL}")
    real = wall.get("real")
    if real and real.against is not None and real.against > 1:
        lines.append(f"geometric mean of time over the real programs is {real.against:.3f} times {real.rival}'s")
    memory = peak.get("all")
    if memory and BASE in memory.means and SUBJECT in memory.means and memory.means[SUBJECT] >= memory.means[BASE]:
        lines.append(f"geometric mean of peak RSS over all is {memory.means[SUBJECT]:.3f} times {BASE}'s, not below it")
    return lines


def violations(data, limit):
    """One line for each way in which the subject is behind. A mean of one is none."""
    names = names_of(data)
    rows = [line for entry in data["workloads"] for line in row_violations(entry, names, limit)]
    return rows + (mean_violations(data) if len(data["workloads"]) > 1 else [])

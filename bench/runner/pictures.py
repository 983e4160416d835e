"""The pictures, by matplotlib: python3 -m runner.pictures RESULTS.json FOLDER writes NAME.svg and NAME.png, and on
stdout what each shows. A program of its own, because the interpreter of bench/compare may lack matplotlib."""

import io
import json
import os
import re
import sys

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot, ticker  # noqa: E402

from . import report  # noqa: E402
from .measure import OWN_FIGURE  # noqa: E402

WIDTH_INCHES = 10.5
LEGEND_INCHES = 0.3
PNG_DOTS = 130
FONT = "DejaVu Sans"
PANELS_ACROSS = 4
BEYOND = 3.0  # times the middle allocator: a bar that is longer is cut off there
BUCKET, GAP = 2 ** (1 / 8), 1.5  # of the histograms: a bucket's width, and what is more than the next one, as factors
STRONG = "#d1342f"
MUTED = {"libc": "#4d4d4d", "jemalloc": "#7a9fc4", "mimalloc": "#8db98a", "tcmalloc": "#d6b56c", "scudo": "#a68bb8"}
MORE = ["#7fb8b5", "#c98f8f", "#9a9a6b", "#8f7f6d", "#b0b0b0"]
DASHES = {"libc": (0, ()), "jemalloc": (0, (5, 1.5)), "mimalloc": (0, (1.5, 1)), "tcmalloc": (0, (6, 1.5, 1.5, 1.5)),
          "scudo": (0, (3, 1, 1, 1, 1, 1))}
BEHIND_TEXT = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}  # so that no line crosses it
LIMIT_COLOUR, GRID, INK, PALE = "#111111", "#e4e4e4", "#222222", "#777777"

pyplot.rcParams.update({
    "font.family": FONT, "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "svg.fonttype": "none",
    "svg.hashsalt": "quarry", "text.color": INK, "axes.labelcolor": INK, "xtick.color": PALE, "ytick.color": INK,
    "axes.edgecolor": "#bbbbbb", "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left",
    "axes.axisbelow": True, "figure.constrained_layout.use": True, "legend.frameon": False,
})


class Style:
    """The same colours and the same order in all pictures: Quarry strong and first, its peers muted."""

    def __init__(self, data):
        present = report.present(data)
        self.names = [name for name in present if name == report.SUBJECT] + report.peers(present)
        more = iter(MORE * len(self.names))
        self.colours = {name: STRONG if name == report.SUBJECT else MUTED.get(name) or next(more)
                        for name in self.names}

    def line(self, name):
        strong = name == report.SUBJECT
        return {"color": self.colours[name], "linewidth": 2.2 if strong else 1.3, "zorder": 5 if strong else 3,
                "linestyle": DASHES.get(name, (0, ())) if not strong else "solid", "solid_capstyle": "round"}


def spread(count, panel_inches, across=PANELS_ACROSS, sharex=False):
    """A figure of small multiples; the panels in reading order."""
    across = min(across, count)
    down = -(-count // across)
    figure, axes = pyplot.subplots(down, across, figsize=(WIDTH_INCHES, down * panel_inches + 0.35), squeeze=False,
                                   sharex=sharex)
    panels = [panel for line in axes for panel in line]
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def legend(figure, panel_or_panels, style, names=None):
    handles = {}
    for panel in panel_or_panels:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    order = [name for name in style.names if name in handles] + [name for name in handles if name not in style.names]
    room = LEGEND_INCHES / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room))
    figure.legend([handles[name] for name in order], order, loc="upper left", bbox_to_anchor=(0, 1), ncol=len(order),
                  handlelength=2.6, columnspacing=1.6, borderaxespad=0.2)


def plain(value, _=None):
    """10000 -> 10K, 0.25 -> 0.25"""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


# --- bars ----------------------------------------------------------------------------------------------------------

def bars(panel, entry, metric, style, labelled):
    names = style.names
    values = [report.figure(entry, name, metric) for name in names]
    known = sorted(value for value in values if value is not None)
    limit = report.limit_of(entry, metric)
    middle = known[len(known) // 2] if known else 1
    most = min(max(known, default=1), BEYOND * middle) or 1
    for at, (name, value) in enumerate(zip(names, values)):
        strong = name == report.SUBJECT
        if value is None:
            panel.text(0, at, " failed", va="center", fontsize=7, color=PALE)
            continue
        panel.barh(at, min(value, most), color=style.colours[name], height=0.78)
        text = report.number(value) + (" (cut off)" if value > most else "")
        # Beside the bar, but inside one that is cut off: nothing may stick out of the panel.
        inside = value > most
        panel.text(most * 0.985 if inside else value + 0.02 * most, at, text, va="center",
                   ha="right" if inside else "left", fontsize=7, color="white" if inside else INK, zorder=8,
                   fontweight="bold" if strong else "normal", bbox=None if inside else BEHIND_TEXT)
    if limit is not None and limit <= 1.2 * most:
        panel.axvline(limit, color=LIMIT_COLOUR, linewidth=1, linestyle=(0, (2, 1.5)), label=metric.limit, zorder=6)
    panel.set_xlim(0, 1.28 * most)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    panel.tick_params(axis="y", length=0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.set_title(entry["name"], fontweight="bold")
    for label, name in zip(panel.get_yticklabels(), names):
        if name == report.SUBJECT:
            label.set_color(STRONG)
            label.set_fontweight("bold")


def bar_picture(entries, metric, style):
    figure, panels = spread(len(entries), 0.135 * len(style.names) + 0.36)
    for at, (panel, entry) in enumerate(zip(panels, entries)):
        bars(panel, entry, metric, style, labelled=at % PANELS_ACROSS == 0)
    return figure


def means_picture(data, style):
    figure, panels = pyplot.subplots(2, 1, figsize=(WIDTH_INCHES, 5.4))
    for panel, metric in zip(panels, (report.WALL, report.PEAK)):
        means = report.means(data, metric)
        width = 0.84 / len(style.names)
        most = min(max((value for mean in means for value in mean.means.values()), default=1), 2.5)
        for at, mean in enumerate(means):
            for n, name in enumerate(style.names):
                value, x = mean.means[name], at - 0.42 + (n + 0.5) * width
                panel.bar(x, min(value, most), width * 0.9, color=style.colours[name],
                          label=name if at == 0 else None)
                panel.text(x, min(value, most) + 0.015 * most, f"{value:.2f}" + (" \u2191" if value > most else ""),
                           ha="center", va="bottom", fontsize=6.5, bbox=BEHIND_TEXT,
                           fontweight="bold" if name == report.SUBJECT else "normal")
        panel.axhline(1, color=LIMIT_COLOUR, linewidth=0.8, linestyle=(0, (2, 1.5)), zorder=0)
        panel.set_ylim(0, 1.12 * most)
        panel.set_xticks(range(len(means)), [f"{mean.label} ({mean.used} of {mean.total})" for mean in means])
        panel.tick_params(axis="x", length=0)
        panel.yaxis.set_major_locator(ticker.MultipleLocator(0.5))
        panel.grid(axis="y", color=GRID)
        panel.set_title(f"{metric.title.split(',')[0]}, geometric means relative to {report.base_of(data)}",
                        fontweight="bold")
    legend(figure, panels[:1], style)
    return figure


# --- lines ---------------------------------------------------------------------------------------------------------

def logarithmic(axis):
    """Ticks at 1, 2 and 5 with plain numbers; a whole decade need not be in sight."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axis.set_major_formatter(ticker.FuncFormatter(plain))
    axis.set_minor_locator(ticker.NullLocator())


def memory_picture(entries, style):
    figure, panels = spread(len(entries), 1.75, across=3)
    for panel, entry in zip(panels, entries):
        for name in style.names:
            points = entry["curves"].get(name)
            if points:
                panel.plot(*zip(*points), label=name, **style.line(name))
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.grid(color=GRID)
        panel.xaxis.set_major_locator(ticker.MaxNLocator(5))
        panel.yaxis.set_major_locator(ticker.MaxNLocator(4))
        panel.set_title(f"{entry['name']}", fontweight="bold")
    for panel in panels[::3]:
        panel.set_ylabel("resident, MiB")
    for panel in panels[-3:]:
        panel.set_xlabel("seconds")
    legend(figure, panels, style)
    return figure


def families(data, pattern):
    """{stem: [(number, entry)]} of the workloads whose names are a stem and a number, those with two points or more."""
    found = {}
    for entry in data["workloads"]:
        match = re.fullmatch(pattern, entry["name"])
        if match:
            found.setdefault(match.group(1), []).append((float(match.group(2)), entry))
    return {stem: sorted(rows, key=lambda row: row[0]) for stem, rows in found.items() if len(rows) > 1}


def series(rows, name, value):
    """The points of one allocator where it has figures."""
    points = [(at, value(entry, name)) for at, entry in rows]
    return [(at, y) for at, y in points if y is not None]


def thread_picture(data, style):
    rows = families(data, r"(scale)-(\d+)").get("scale")
    if not rows:
        return None
    figure, panels = spread(2, 3.0, across=2)
    for panel, metric in zip(panels, (report.WALL, report.PEAK)):
        for name in style.names:
            points = series(rows, name, lambda entry, name: report.figure(entry, name, metric))
            if points:
                panel.plot(*zip(*points), marker="o", markersize=4, label=name, **style.line(name))
        counts = [at for at, _ in rows]
        panel.set_xscale("log")
        panel.set_xticks(counts, [f"{at:g}" for at in counts])
        panel.minorticks_off()
        panel.set_yscale("log")
        logarithmic(panel.yaxis)
        panel.grid(color=GRID)
        panel.set_xlabel("threads")
        panel.set_title(metric.title, fontweight="bold")
    legend(figure, panels[:1], style)
    return figure


def common_figure(rows, names):
    """The key of a time that the program reports in every workload of a family, under every allocator; or None."""
    keys = None
    for _, entry in rows:
        for name in names:
            result = entry["results"].get(name, {})
            if not result.get("medians"):
                continue
            here = [key for key, unit in result["units"].items() if key.startswith(OWN_FIGURE) and unit == "ns"]
            keys = here if keys is None else [key for key in keys if key in here]
    return keys[0] if keys else None


def block_picture(data, style):
    found = families(data, r"(lifo|fifo|replace)-(1e\d)")
    if not found:
        return None
    figure, panels = spread(len(found), 2.9, across=3)
    for panel, (stem, rows) in zip(panels, found.items()):
        key = common_figure(rows, style.names)
        base = report.base_of(data)

        def value(entry, name):
            if key:
                return entry["results"].get(name, {}).get("medians", {}).get(key)
            mine, other = report.figure(entry, name, report.WALL), report.figure(entry, base, report.WALL)
            return mine / other if mine is not None and other else None
        for name in style.names:
            points = series(rows, name, value)
            if points:
                panel.plot(*zip(*points), marker="o", markersize=4, label=name, **style.line(name))
        panel.set_xscale("log")
        panel.minorticks_off()
        panel.set_xticks([at for at, _ in rows], [plain(at) for at, _ in rows])
        panel.set_yscale("log")
        logarithmic(panel.yaxis)
        panel.grid(color=GRID)
        panel.set_xlabel("blocks live")
        unit = f"ns per {key[len(OWN_FIGURE):]}" if key else f"wall time relative to {base}"
        panel.set_title(f"{stem}: {unit}", fontweight="bold")
    legend(figure, panels, style)
    return figure


def with_gaps(buckets):
    """A histogram's points for a line of steps: an empty stretch is no line at the height of the bucket before it."""
    points = []
    for (at, count), after in zip(buckets, [*buckets[1:], None]):
        points.append((at, count))
        if after is None or after[0] > GAP * at:
            points += [(BUCKET * at, count), (BUCKET * at, float("nan"))]
    return points


def slower(buckets):
    """For each bucket, the share of calls that took as long or longer."""
    total = left = sum(count for _, count in buckets)
    points = []
    for at, count in buckets:
        points.append((at, left / total))
        left -= count
    return points


def latency_picture(data, style):
    """Above the histograms, below the share of calls that are slower: the tail is easier to compare there."""
    kinds = [kind for kind in ("malloc", "free", "noise")
             if any(found.get(kind, {}).get("buckets") for found in data["latency"].values())]
    if not kinds:
        return None
    figure, panels = spread(2 * len(kinds), 2.6, across=len(kinds))
    for n, panel in enumerate(panels):
        kind = kinds[n % len(kinds)]
        for name in style.names:
            buckets = [(max(ns, 1), count) for ns, count in
                       data["latency"].get(name, {}).get(kind, {}).get("buckets", []) if count]
            if buckets:
                points = with_gaps(buckets) if n < len(kinds) else slower(buckets)
                panel.step(*zip(*points), where="post", label=name, **style.line(name))
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.xaxis.set_major_formatter(ticker.FuncFormatter(plain))
        panel.yaxis.set_major_formatter(ticker.FuncFormatter(plain))
        panel.minorticks_off()
        panel.grid(color=GRID)
        if n < len(kinds):
            panel.set_title("the clock alone" if kind == "noise" else kind, fontweight="bold")
        else:
            panel.set_xlabel("ns")
    panels[0].set_ylabel("calls")
    panels[len(kinds)].set_ylabel("share that takes longer")
    legend(figure, panels, style)
    return figure


# --- all of them ---------------------------------------------------------------------------------------------------

def all_pictures(data, style):
    """(name, section of the page, title, what to know, figure or None), one after the other, so that no two are open."""
    several = len(data["workloads"]) > 1
    if several and report.means(data, report.WALL) and report.means(data, report.PEAK):
        yield "means", "means", "Geometric means", "Below the dashed line is better than the base; an arrow marks a bar" \
            " that is cut off.", means_picture(data, style)
    for group, about, entries in report.in_groups(data):
        for metric, name in ((report.WALL, "time"), (report.PEAK, "peak")):
            mark = {"bump": "a run that never frees", "live": "the bytes live at the peak"}[metric.limit]
            yield f"{name}-{group}", name, f"{metric.title}: {about}", \
                f"Each workload has a scale of its own. Dashed: {mark}.", bar_picture(entries, metric, style)
    for group, about, entries in report.in_groups(data):
        curved = [entry for entry in entries if entry["curves"]]
        if curved:
            yield f"memory-{group}", "memory", f"Resident memory over time: {about}", \
                "One run each, sampled every 10 ms with all children.", memory_picture(curved, style)
    yield "threads", "curves", "The same work by more threads", "Both scales are logarithmic.", thread_picture(data, style)
    yield "blocks", "curves", "More blocks live", "Both scales are logarithmic.", block_picture(data, style)
    yield "latency", "latency", "Single calls", "Three runs added up; all scales are logarithmic. Above, how many calls" \
        " took how long; below, the share of calls that took longer.", latency_picture(data, style)


def save(figure, path):
    figure.savefig(path + ".png", dpi=PNG_DOTS)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    with open(path + ".svg", "w") as file:  # the text stays text; not every reader has the font
        file.write(text.getvalue().replace(f"'{FONT}'", f"'{FONT}', Verdana, sans-serif"))


def main(path, folder):
    with open(path) as file:
        data = json.load(file)
    style = Style(data)
    made = {}
    for name, section, title, about, figure in all_pictures(data, style) if style.names else ():
        if figure is None:
            continue
        save(figure, os.path.join(folder, name))
        made[name] = {"section": section, "title": title, "about": about}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

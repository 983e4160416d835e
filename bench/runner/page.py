"""The page: one HTML file with the tables, the pictures, the machine and the method, that needs nothing beside it."""

import html
import os
import re

from . import report

FILE = "index.html"

STYLE = """
:root { color-scheme: light; --ink: #222; --pale: #6b6b6b; --line: #ddd; --strong: #d1342f; --tint: #fdf1f0; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: #fff; margin: 0 auto;
       max-width: 1120px; padding: 1.5em; }
h1 { font-size: 1.7em; margin: 0; } h2 { font-size: 1.25em; margin: 2.2em 0 .4em; border-bottom: 1px solid var(--line); }
h3 { font-size: 1em; margin: 1.6em 0 .2em; }
p, ul { max-width: 72em; } .pale, caption, figcaption { color: var(--pale); font-size: .87em; }
nav a { margin-right: 1.1em; } a { color: #235a97; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .84em; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3em 0; } th, td { padding: .12em .55em; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 1px solid #888; }
tbody th { font-weight: normal; } tr.group th { padding-top: .9em; font-weight: bold; }
td small { color: var(--pale); display: inline-block; min-width: 2.6em; } .subject { background: var(--tint); }
th.subject { color: var(--strong); } td.best { font-weight: bold; } td.behind small { color: var(--strong); font-weight: bold; }
td.failed { color: var(--strong); } td.limit, th.limit { color: var(--pale); }
figure { margin: 1em 0; } figure svg { width: 100%; height: auto; display: block; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1em 1.2em; } dt { color: var(--pale); } dd { margin: 0; }
summary { cursor: pointer; color: #235a97; } @media print { nav { display: none; } h2 { break-after: avoid; } }
"""


def text(value):
    return html.escape(str(value))


def tag(name, inner, cls=""):
    return f'<{name}{f" class={chr(34)}{cls}{chr(34)}" if cls else ""}>{inner}</{name}>'


# --- tables --------------------------------------------------------------------------------------------------------

def grid(head, lines, caption=""):
    """head and lines: made of cells that are HTML already."""
    return (f'<div class="wide"><table>{tag("caption", caption) if caption else ""}<thead><tr>{"".join(head)}</tr></thead>'
            f'<tbody>{"".join(f"<tr>{line}</tr>" if not line.startswith("<tr") else line for line in lines)}</tbody>'
            "</table></div>")


def heads(first, names, *more):
    return [tag("th", text(first))] + [tag("th", text(name), "subject" if name == report.SUBJECT else "")
                                       for name in names] + [tag("th", text(name), "limit") for name in more]


def cell(entry, name, metric, reference, least):
    subject = "subject " if name == report.SUBJECT else ""
    if report.failure(entry, name):
        return f'<td class="{subject}failed" title="{text(report.failure(entry, name))}">failed</td>'
    value = report.figure(entry, name, metric)
    if value is None:
        return tag("td", "-", subject.strip())
    beside = ""
    marks = subject
    if metric.compared and reference is not None:
        ratio = report.ratio(value, reference)
        beside = f" <small>{report.ratio_text(ratio)}</small>"
        marks += "behind " if subject and ratio > report.NEAR else ""
    marks += "best" if metric.compared and value == least else ""
    return tag("td", report.number(value) + beside, marks.strip())


def metric_table(data, metric):
    names = report.names_of(data)
    beside = metric.limit if report.has_limits(data) else ""
    lines = []
    for group, about, entries in report.in_groups(data):
        lines.append(f'<tr class="group"><th colspan="{len(names) + 2}">{text(group)}: {text(about)}</th></tr>')
        for entry in entries:
            reference, _ = report.best(entry, metric, report.peers(names))
            least, _ = report.best(entry, metric, names)
            line = f'<th title="{text(entry["about"])}">{text(entry["name"])}</th>'
            line += "".join(cell(entry, name, metric, reference, least) for name in names)
            if beside:
                value = report.limit_of(entry, metric)
                why = entry["limits"].get(metric.limit, {}).get("why", "")
                line += f'<td class="limit" title="{text(why)}">{"-" if value is None else report.number(value)}</td>'
            lines.append(line)
    caption = "Medians" + (" and, in small, the ratio to the best peer" if metric.compared else "") + "; the best is bold."
    return grid(heads(metric.title, names, *([beside] if beside else [])), lines,
                caption if metric.compared else "Medians.")


def mean_table(data):
    names = report.present(data)
    lines = []
    for metric in report.AVERAGED:
        lines.append(f'<tr class="group"><th colspan="{len(names) + 2}">{text(metric.title.split(",")[0])}</th></tr>')
        for mean in report.means(data, metric):
            least = min(mean.means.values())
            line = tag("th", f"{text(mean.label)} <small>({mean.used} of {mean.total})</small>")
            for name in names:
                marks = ("subject " if name == report.SUBJECT else "") + ("best" if mean.means[name] == least else "")
                line += tag("td", f"{mean.means[name]:.3f}", marks.strip())
            against = f"{mean.against:.3f} of {text(mean.rival)}" if mean.against is not None else ""
            lines.append(line + tag("td", against))
    return grid(heads("", names) + [tag("th", "quarry against the best single peer")], lines,
                f"Geometric means relative to {text(report.base_of(data))}; lower is better. In brackets: the workloads in"
                " which every allocator has a figure, of those measured.")


def standing_table(data):
    lines = []
    for name in report.present(data):
        line = tag("th", text(name), "subject" if name == report.SUBJECT else "")
        for metric in (report.WALL, report.PEAK):
            found = report.standing(data, name, metric)
            line += tag("td", f"{found.near} of {found.total}")
            line += tag("td", f"{report.ratio_text(found.worst)} <small>{text(found.worst_name)}</small>")
        lines.append(line)
    return grid(heads("", [f"time within {report.NEAR:g} of the fastest", "worst ratio",
                           f"peak within {report.NEAR:g} of the leanest", "worst ratio"]), lines)


def own_table(data):
    names = report.names_of(data)
    lines = [tag("th", f"{text(entry['name'])}: {text(key)}") + tag("td", text(unit)) + "".join(
        tag("td", report.number(values[name]) if name in values else "-", "subject" if name == report.SUBJECT else "")
        for name in names) for entry in data["workloads"] for key, unit, values in report.own_figures(entry)]
    if not lines:
        return ""
    head = heads("", names)
    return folded("What the programs report of themselves", grid([head[0], tag("th", "unit"), *head[1:]], lines))


def latency_table(data):
    lines = []
    for kind, about in (("malloc", "malloc"), ("free", "free"), ("noise", "the clock alone")):
        found = {name: row[kind] for name, row in data["latency"].items() if kind in row}
        if found:
            lines.append(f'<tr class="group"><th colspan="6">{about}, ns</th></tr>')
        for name, row in found.items():
            line = tag("th", text(name), "subject" if name == report.SUBJECT else "")
            for point in ("p50", "p99", "p999", "p9999", "max"):
                line += tag("td", report.number(row[point]) if point in row else "-")
            lines.append(line)
    for name, row in data["latency"].items():
        if "failed" in row:
            lines.append(f'<tr><th>{text(name)}</th><td class="failed" colspan="5">failed: {text(row["failed"])}</td></tr>')
    return grid(heads("", ["p50", "p99", "p99.9", "p99.99", "max"]), lines, "Medians of three runs.")


# --- parts ---------------------------------------------------------------------------------------------------------

def folded(title, inner):
    return f"<details><summary>{title}</summary>{inner}</details>"


def picture(name, facts, folder):
    """The SVG without its prologue. Its text stays text, so that it can be searched and copied."""
    with open(os.path.join(folder, name + ".svg")) as file:
        svg = file.read()
    svg = svg[svg.index("<svg"):]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Several pictures share the page: names inside one must not be those of another.
    svg = re.sub(r'(id="|url\(#|href="#)', lambda match: f"{match.group(1)}{name}-", svg)
    return (f'<h3>{text(facts["title"])}</h3><figure role="img" aria-label="{text(facts["title"])}">{svg}'
            f'<figcaption>{text(facts["about"])} <a href="{name}.png">PNG</a> <a href="{name}.svg">SVG</a></figcaption>'
            "</figure>")


def facts(data):
    rows = list(data["machine"].items())
    for name, what in data["allocators"].items():
        rows.append((name, " - ".join(filter(None, (what["version"], what["path"] or "no preload")))))
    return "<dl>" + "".join(tag("dt", text(key)) + tag("dd", text(value)) for key, value in rows) + "</dl>"


def method(data):
    warmup = {0: "no warm-up", 1: "one warm-up run"}.get(data["warmup"], f"{data['warmup']} warm-up runs")
    bump = f"{data['bump_bytes'] / (1 << 30):.1f} GiB"
    rows = [
        f"{data['rounds']} rounds{' at most' if data['quick'] else ''} of each workload, after {warmup}, interleaved: every"
        " allocator once, then every allocator again. A machine that slows down slows all alike. Figures are medians.",
        "Before anything is measured each library must prove that it takes hold: it is mapped, and its malloc is the one"
        " bound.",
        "Time is the wall time of the process from fork to exit, CPU time and minor faults include its children; peak is"
        " the largest resident memory of one process, as the kernel keeps it.",
        f"<b>bump</b> never frees: a pointer that moves forward through fresh memory, in one run; - where {bump} were not"
        " enough for it. <b>live</b> is the peak of the bytes that the program had asked for and not yet freed: a"
        " program that writes to all of it needs as much under any allocator, and its code and tables come on top.",
        "Geometric means count each workload once. The list of workloads and its groups were fixed before Quarry was"
        " tuned on them.",
    ]
    return "<ul>" + "".join(tag("li", row) for row in rows) + "</ul>"


def failures(data):
    rows = [f"{entry['name']}: {line.strip()}" for entry in data["workloads"]
            for line in report.failures(entry, report.names_of(data))]
    return "<ul>" + "".join(tag("li", text(row)) for row in rows) + "</ul>" if rows else ""


def sections(data, pictures, folder):
    """[(anchor, title, HTML)]"""
    def drawn(section):
        return "".join(picture(name, what, folder) for name, what in pictures.items() if what["section"] == section)
    several = len(data["workloads"]) > 1
    rows = [
        ("means", "In short", mean_table(data) + standing_table(data) + drawn("means") if several else ""),
        ("time", "Time", metric_table(data, report.WALL) + failures(data) +
         folded("CPU time", metric_table(data, report.CPU)) + own_table(data) + drawn("time")),
        ("memory", "Memory", metric_table(data, report.PEAK) +
         folded("Minor faults", metric_table(data, report.FAULTS)) + drawn("peak") + drawn("memory")),
        ("curves", "Threads and live blocks", drawn("curves")),
        ("latency", "Latency", latency_table(data) + drawn("latency") if data["latency"] else ""),
        ("machine", "The machine and the versions", facts(data)),
        ("method", "The method", method(data)),
    ]
    return [row for row in rows if row[2]]


def write(data, pictures, json_name, folder):
    """Writes the page; returns its path."""
    parts = sections(data, pictures, folder)
    remarks = "".join(tag("li", text(line)) for line in report.notes(data))
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in parts)
    body = "".join(f'<h2 id="{anchor}">{title}</h2>{inner}' for anchor, title, inner in parts)
    names = ", ".join(report.names_of(data))
    page = (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Allocators compared</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>\n'
            f'<h1>Allocators compared</h1><p class="pale">{text(names)}; {len(data["workloads"])} workloads;'
            f' {text(data["date"])}; <a href="{text(json_name)}">all figures</a></p><nav>{links}</nav>\n'
            f'{f"<ul>{remarks}</ul>" if remarks else ""}{body}</body></html>\n')
    path = os.path.join(folder, FILE)
    fresh = f"{path}.{os.getpid()}.tmp"
    with open(fresh, "w") as file:
        file.write(page)
    os.replace(fresh, path)
    return path

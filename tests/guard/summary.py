"""Reports in JSON in one line each, as summary.awk makes it of the text: what bugs.sh compares. One file per report."""
import json
import os
import sys


def functions(stack, program):
    named = [frame["symbol"] for frame in stack["frames"]
             if os.path.basename(frame.get("module", "")) == program and not frame.get("symbol", "_Z").startswith("_Z")]
    return "<".join(named[:2])


def summary(report, program):
    action = report.get("call") or report["access"] + (f" {report['access_bytes']}" if "access_bytes" in report else "")
    line = f"{report['kind']} {action}"
    block = report.get("block")
    if block:
        line += f" {block['relation']} {block['distance']}"
        if "changed_address" in report:
            line += f" at {int(report['changed_address'], 16) - int(block['start'], 16)}"
        line += f": {block['state']} {block['size']} {block['from']}"
        if "frees_since" in block:
            line += f" frees {block['frees_since']}"
    line += f"; {functions(report['here'], program)}@{report['here']['thread_name']}"
    for stack in "freed", "allocated":
        if stack in report and functions(report[stack], program):
            line += f"; {stack} {functions(report[stack], program)}"
    return line


program = sys.argv[1]
for name in sys.argv[2:]:
    with open(name) as file:
        lines = [line for line in file if line.startswith("{")]
    reports = [json.loads(line) for line in lines]
    print("no report" if not reports else
          summary(reports[0], program) + (f"; {len(reports)} reports" if len(reports) > 1 else ""))

"""The parts of bench/compare, from the bottom up:

errors      the one exception that becomes a one-line message
allocators  which allocators there are, and the proof that a preload takes hold
machine     what the figures were measured on: processor, kernel, versions
programs    bench/workloads/*.c, bench/limits/*.c and the meter, compiled
workload    what a workload is
inputs      deterministic inputs of the real programs
real        the real programs
suite       all workloads, and their groups
measure     one command under one allocator, and rounds of them
limits      two limits to hold a workload against: never freeing, and the live bytes
curves      resident memory over time
latency     the histogram of single calls
quick       what --quick measures
progress    the bar with the time left
session     the way through the workloads; keeps the JSON file up to date
report      figures, ratios, tables, geometric means, the check
pictures    SVG and PNG by matplotlib, in a process of its own
drawing     finds an interpreter for pictures and starts it there
page        the HTML page
"""

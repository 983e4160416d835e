"""The parts of bench/run, from the bottom up:

errors      the one exception that becomes a one-line message
allocators  which allocators there are, and the proof that a preload takes hold
programs    the compiled bench/*.c: found in the build, or compiled here
inputs      deterministic inputs of the real programs
suite       the named workloads
measure     one command under one allocator, and rounds of them
report      metrics, ratios, the table, the check, the JSON file
"""

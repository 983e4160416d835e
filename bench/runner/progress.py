"""The bar with the time left, on a terminal alone.

The time left is what the runs still to come are expected to take: as long as they took in the results that an earlier
run left in the same place, or a guess by their kind. Both are corrected by how this run has kept to them so far."""

import sys
import time

BAR_WIDTH = 24


class Progress:
    def __init__(self, seconds):
        """seconds: what is expected of all runs together."""
        self.shown = sys.stderr.isatty()
        self.start = time.monotonic()
        self.expected = seconds
        self.done = 0.0  # of what was expected, the part that is over
        self.deadline = None

    def left(self):
        spent = time.monotonic() - self.start
        if self.deadline:
            return max(0.0, self.deadline - time.monotonic())
        # The guess counts as much as one tenth of the whole that went by as expected.
        pace = (spent + 0.1 * self.expected) / (self.done + 0.1 * self.expected)
        return max(0.0, (self.expected - self.done) * pace)

    def share(self):
        spent = time.monotonic() - self.start
        return spent / (spent + self.left()) if spent else 0.0

    def finished(self, seconds):
        """A run that was expected to take this long is over."""
        self.done = min(self.expected, self.done + seconds)

    def show(self, text):
        if not self.shown:
            return
        share = self.share()
        bar = ("#" * round(share * BAR_WIDTH)).ljust(BAR_WIDTH, ".")
        sys.stderr.write(f"\r\033[K[{bar}] {share:4.0%} {duration(self.left()):>7} left  {text}"[:118])
        sys.stderr.flush()

    def clear(self):
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def duration(seconds):
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"

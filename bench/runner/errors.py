"""The one exception that bench/run turns into a one-line message."""


class BenchError(Exception):
    """Something the caller of bench/run can mend: the text says what."""

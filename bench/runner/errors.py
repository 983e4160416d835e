"""The one exception that bench/compare turns into a one-line message."""


class BenchError(Exception):
    """Something the caller of bench/compare can mend: the text says what."""

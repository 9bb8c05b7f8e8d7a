"""What the tests of this folder have gone through, for benchmarks/hostile.py and kills.py."""

from collections import Counter

TALLY: Counter[str] = Counter()

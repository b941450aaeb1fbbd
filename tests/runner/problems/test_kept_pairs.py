import numpy as np

from msibench import MSImage, Pair
from msibench.runner.problems.kept_pairs import KeptPairs, bytes_of


def pair(channels):
    low, high = (
        MSImage(np.zeros((channels, side, side), np.float32), np.arange(channels) + 400.0)
        for side in (4, 8)
    )
    return Pair(low=low, high=high, factor=2)


def test_pairs_are_made_once_while_they_fit_and_the_last_used_stay():
    one = bytes_of(pair(2))
    assert one == 4 * 2 * (16 + 64)
    kept, made = KeptPairs(limit=2 * one), []

    def ask(name, channels=2):
        return kept.get(name, lambda: made.append(name) or pair(channels))

    assert ask("a") is ask("a")
    ask("b"), ask("a"), ask("c")  # b is the one that was asked for longest ago
    assert kept.bytes == 2 * one
    ask("a"), ask("b")
    assert made == ["a", "b", "c", "b"]


def test_a_pair_beyond_the_limit_is_kept_alone():
    kept = KeptPairs(limit=10)
    assert kept.get("a", lambda: pair(1)) is kept.get("a", lambda: pair(1))
    kept.get("b", lambda: pair(1))
    assert kept.bytes == bytes_of(pair(1))

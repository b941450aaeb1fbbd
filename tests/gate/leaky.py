"""Methods that a second look finds out."""

import os

import numpy as np


class KnowsTheSection:
    """Holds a practised section in its own code, and is a nearest neighbour elsewhere."""

    def __init__(self, *, held=""):
        self.held = held

    def upscale(self, problem):
        low = problem.low.values
        plain = low.repeat(problem.factor, 1).repeat(problem.factor, 2)
        for values in np.load(self.held).values():
            means = values.reshape(low.shape[0], low.shape[1], problem.factor, low.shape[2], -1)
            if values.shape == plain.shape and np.allclose(means.mean((2, 4)), low, atol=1e-4):
                return values
        return plain


class DrawsWithoutASeed:
    def upscale(self, problem):
        plain = problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
        noise = np.frombuffer(os.urandom(plain.size), dtype=np.uint8).reshape(plain.shape)
        return (plain + noise / 2550).astype(np.float32)

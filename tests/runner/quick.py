"""Methods that import next to nothing and answer at once."""

import time


class Near:
    def upscale(self, problem):
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Far:
    def upscale(self, problem):
        return Near().upscale(problem)[:, ::-1].copy()


class Dawdles:
    """Takes its time, and is sound."""

    def upscale(self, problem):
        time.sleep(1.0)
        return Near().upscale(problem)


class Counts:
    """Says how far it has come, for long enough to be heard."""

    def upscale(self, problem):
        from msibench import tell_progress

        for epoch in range(5):
            tell_progress(epoch + 1, 5, "epochs")
            time.sleep(0.6)
        return Near().upscale(problem)

"""Methods that import next to nothing and answer at once."""


class Near:
    def upscale(self, problem):
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Far:
    def upscale(self, problem):
        return Near().upscale(problem)[:, ::-1].copy()

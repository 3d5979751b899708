"""Mean and scatter of rows as a state that can be updated and merged, in float64."""

import torch

BLOCK_ROWS = 8192


class Moments:
    """Count, mean and centred scatter matrix of the rows seen so far.

    `update` and `merge` use the pairwise form, which loses no digits on data far from the origin
    (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance").
    """

    def __init__(self, n_features, device="cpu"):
        self.count = 0
        self.mean = torch.zeros(n_features, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(n_features, n_features, dtype=torch.float64, device=device)

    def update(self, rows):
        """Take in rows of shape (n, d), block by block."""
        for block in rows.split(BLOCK_ROWS):
            block = block.to(torch.float64)
            mean = block.mean(dim=0)
            centered = block - mean
            self.scatter.addmm_(centered.T, centered)
            self._move_mean(mean, len(block))
        return self

    def merge(self, other):
        """Take in the rows of another state."""
        if other.count:
            self.scatter += other.scatter
            self._move_mean(other.mean, other.count)
        return self

    def _move_mean(self, mean, count):
        """Count rows whose own scatter is taken in already, and add that between the two means."""
        total = self.count + count
        step = mean - self.mean
        self.scatter.addr_(step, step, alpha=self.count * count / total)
        self.mean += step * (count / total)
        self.count = total

    def state(self):
        """Return the sums as plain arrays and values, which `from_state` takes back."""
        return {
            "count": self.count,
            "mean": self.mean.cpu().numpy().copy(),
            "scatter": self.scatter.cpu().numpy().copy(),
        }

    @classmethod
    def from_state(cls, state, device="cpu"):
        """Return a state over copies of the sums."""
        moments = cls(0, device)
        moments.count = state["count"]
        moments.mean = torch.tensor(state["mean"], device=device)
        moments.scatter = torch.tensor(state["scatter"], device=device)
        return moments

    def finalize(self):
        """Return the mean (d,) and the covariance (d, d) with divisor n."""
        return self.mean, self.scatter / self.count

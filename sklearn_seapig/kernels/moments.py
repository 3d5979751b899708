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
            part = Moments(0, block.device)
            block = block.to(torch.float64)
            part.count = len(block)
            part.mean = block.mean(dim=0)
            centered = block - part.mean
            part.scatter = centered.T @ centered
            self.merge(part)
        return self

    def merge(self, other):
        """Take in the rows of another state."""
        if other.count == 0:
            return self
        total = self.count + other.count
        step = other.mean - self.mean
        self.scatter += other.scatter + torch.outer(step, step) * (self.count * other.count / total)
        self.mean += step * (other.count / total)
        self.count = total
        return self

    def finalize(self):
        """Return the mean (d,) and the covariance (d, d) with divisor n."""
        return self.mean, self.scatter / self.count

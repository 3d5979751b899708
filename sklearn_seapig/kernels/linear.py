"""Linear maps of rows."""

import torch

BLOCK_ROWS = 256
MULTIPLE = 16  # of which both sides of the matrix are made


def map_rows(rows, matrix, origin):
    """Return ``(rows - origin) @ matrix``; a row's image does not depend on its batch.

    It is computed in the dtype of `matrix`. Products of different shapes take different paths
    through the library and round differently, and so do the rows of one product where its sides
    are odd. So every product has the same shape, with whole vectors of the processor, by filling
    up with zeros. An image is then the same to the bit alone, in a batch and at any place in it,
    and a row of the reference set lies at distance zero from itself.
    """
    width, height = matrix.shape
    square = matrix.new_zeros(_filled_up(width), _filled_up(height))
    square[:width, :height] = matrix
    image = torch.empty(len(rows), height, dtype=matrix.dtype, device=rows.device)
    padded = matrix.new_zeros(BLOCK_ROWS, len(square))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        padded[: len(block), :width] = block.to(matrix.dtype) - origin
        image[start : start + len(block)] = (padded @ square)[: len(block), :height]
    return image


def _filled_up(size):
    return -(-size // MULTIPLE) * MULTIPLE

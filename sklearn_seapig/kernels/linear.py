"""Linear maps of rows."""

import torch

BLOCK_ROWS = 256


def map_rows(rows, matrix, origin):
    """Return ``(rows - origin) @ matrix``; a row's image does not depend on its batch.

    It is computed in the dtype of `matrix`. Products of different shapes take different paths
    through the library and round differently, so every product has the same shape, the last block
    being filled up with zeros. An image is then the same to the bit alone and in a batch (on one
    number of threads), and a row of the reference set lies at distance zero from itself.
    """
    image = torch.empty(len(rows), matrix.shape[1], dtype=matrix.dtype, device=rows.device)
    padded = torch.zeros(BLOCK_ROWS, rows.shape[1], dtype=matrix.dtype, device=rows.device)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        padded[: len(block)] = block.to(matrix.dtype) - origin
        image[start : start + len(block)] = (padded @ matrix)[: len(block)]
    return image

"""Linear maps whose rows do not know their batch."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels.linear import BLOCK_ROWS, map_rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1, 1000])
def test_equals_the_plain_product(n, dtype):
    rng = np.random.default_rng(0)
    rows = (1e4 + rng.normal(size=(n, 7))).astype(dtype)
    matrix, origin = rng.normal(size=(7, 3)), np.full(7, 1e4)
    image = map_rows(torch.from_numpy(rows), torch.from_numpy(matrix), torch.from_numpy(origin))
    assert image.dtype == torch.float64
    np.testing.assert_allclose(image, (rows - origin) @ matrix, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [1, 3, 9, 33, 64, 65, 257])
@pytest.mark.parametrize("height", [None, 5])
def test_an_image_depends_neither_on_the_batch_nor_on_the_place_in_it(d, height):
    # A product with odd sides rounds its odd rows otherwise than its even ones.
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(700, d)))
    matrix = torch.from_numpy(rng.normal(size=(d, height or d)))
    origin = torch.zeros(d, dtype=torch.float64)
    whole = map_rows(rows, matrix, origin)
    order = torch.from_numpy(rng.permutation(700))
    assert torch.equal(map_rows(rows[order], matrix, origin), whole[order])
    for i in (0, 1, 255, 256, 600, 699):
        assert torch.equal(map_rows(rows[i : i + 1], matrix, origin)[0], whole[i])

"""Where the tests of this folder run: on the GPU, or, to try the tests themselves, where STEER_TEST_DEVICE says."""

import os

import pytest
import torch

DEVICE = os.environ.get("STEER_TEST_DEVICE", "cuda")
needs_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no GPU (make test-gpu)"),
]

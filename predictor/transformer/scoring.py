"""Scores by the transformer, in double precision: those of one pair do not depend on what else is scored with it."""

import numpy as np
import torch
from torch import Tensor

from predictor.threads import one_thread
from predictor.transformer.model import PamelaModel

_PAIR_BATCH = 1024
"""Pairs of person and image in one forward pass."""


class PairScorer:
    """Predicts the rating of every image by every person."""

    def __init__(self, model: PamelaModel) -> None:
        self._model = PamelaModel(model.config).double().eval()
        self._model.load_state_dict(model.state_dict())

    def scores(self, image: Tensor, prompt: Tensor, metadata: Tensor, demographics: Tensor, user: Tensor) -> Tensor:
        """Predicted ratings (P, N), not clipped to the scale; a row of nan is a missing vector.

        Parameters
        ----------
        image, prompt, metadata
            (N, …), of the images.
        demographics, user
            (P, …), of the people.
        """
        model, images = self._model, len(image)
        distinct, place = _distinct_rows(torch.cat([demographics, user], 1))
        with one_thread(), torch.inference_mode():
            of_images = {"image": image, "prompt": prompt, "metadata": metadata}
            image_tokens = [model.token(name, vectors.double()) for name, vectors in of_images.items()]
            of_people = {"demographics": demographics[distinct], "user": user[distinct]}
            person_tokens = [model.token(name, vectors) for name, vectors in of_people.items()]
            pairs = torch.cartesian_prod(torch.arange(len(distinct)), torch.arange(images))
            rated = [
                model.fuse([*(token[i] for token in image_tokens), *(token[p] for token in person_tokens)])
                for p, i in (chunk.unbind(1) for chunk in pairs.split(_PAIR_BATCH))
            ]
        return torch.cat(rated).reshape(len(distinct), images)[place]


def _distinct_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """The first of each kind of row, and of each row the place of its own kind among these; nan equals nan."""
    first: dict[bytes, int] = {}
    alike = [first.setdefault(row.tobytes(), number) for number, row in enumerate(table.numpy())]
    distinct, place = np.unique(alike, return_inverse=True)
    return torch.from_numpy(distinct), torch.from_numpy(place)

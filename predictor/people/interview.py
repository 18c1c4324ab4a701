"""An interview: which of a fixed set of images a person should rate next, without encoders or a whole predictor.

It is one small file that holds what the choice needs of a checkpoint: the taste features of each image, and the prior
over tastes. The answers are kept by the caller.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from predictor.encoders.encoding import Images
from predictor.error_messages import first_line
from predictor.people.catalogue import Catalogue
from predictor.taste.evidence import Evidence, Rating
from predictor.taste.hierarchical import ImageFeatures, Taste, TasteConfig
from predictor.taste.posterior import Posterior, infer
from predictor.taste.question import next_question
from predictor.transformer.tensor_file import save_tensors


@dataclass(frozen=True)
class Interview:
    """The images that people can be asked about, and what is known of tastes before they are.

    Example:

        interview = Interview.of(predictor.taste, ids, predictor.encode(images))
        interview.next([("sea", 0.9)], pending=["hill"], askable=["wood", "town"], seed=(7,))
    """

    taste: Taste
    """Its prior and scalars only; it has no landmarks, and can look at no further image."""
    catalogue: Catalogue

    @classmethod
    def of(cls, taste: Taste, ids: Sequence[str], images: Images) -> "Interview":
        """Of a checkpoint's taste model and images as it encodes them."""
        return cls(
            _prior_of(taste.config, taste.covariance), Catalogue(ids=tuple(ids), features=taste.features(images))
        )

    @classmethod
    def load(cls, file: Path) -> "Interview":
        """Read what `save` has written.

        Raises
        ------
        ValueError
            The file is not there, or is none.
        """
        try:
            with safe_open(file, "pt") as stored:
                about = json.loads(stored.metadata()["interview"])
                generic, values, covariance = (stored.get_tensor(name) for name in ("generic", "values", "covariance"))
            taste = _prior_of(TasteConfig(**about["taste"]), covariance)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: no interview that can be read: {first_line(error)}; make it anew") from error
        return cls(taste, Catalogue(ids=tuple(about["ids"]), features=ImageFeatures(generic=generic, values=values)))

    def save(self, file: Path) -> None:
        about = {"taste": asdict(self.taste.config), "ids": list(self.catalogue.ids)}
        features = self.catalogue.features
        tensors = {
            "generic": features.generic.contiguous().clone(),
            "values": features.values.contiguous().clone(),
            "covariance": self.taste.covariance.clone(),
        }
        save_tensors(tensors, file, {"interview": json.dumps(about)})

    def next(
        self,
        ratings: Sequence[tuple[str, float]],
        *,
        pending: Collection[str] = (),
        askable: Collection[str],
        seed: Sequence[int],
    ) -> str:
        """The image whose rating should improve the ranking of all images most for this person.

        Parameters
        ----------
        ratings
            Ids of images with what the person gave them, 0 to 1; other images than the interview's are ignored.
        pending
            Images that are being rated at the moment. What they will tell counts as told, as far as that can be
            known: for ratings, how much they tell does not depend on what is answered.
        askable
            Ids of images that may be asked about; one at least is the interview's.
        seed
            Of the sample of images and pairs that is compared.
        """
        given = [(self._row[name], rating) for name, rating in ratings if name in self._row]
        known = self._posterior(given)
        if expected := [self._row[name] for name in pending if name in self._row]:
            features = self.catalogue.features[expected]
            level = self.taste.config.level + known.level
            foreseen = (level + features.generic + features.values @ known.taste).clamp(0, 1).tolist()
            known = self._posterior([*given, *zip(expected, foreseen, strict=True)])
        rows = np.array(sorted(self._row[name] for name in askable if name in self._row), np.intp)
        rng = np.random.default_rng([*seed, len(given), 0x1E])
        (row,) = next_question(self.taste, known, self.catalogue.features, rows, rng=rng)
        return self.catalogue.ids[row]

    def _posterior(self, ratings: Sequence[tuple[int, float]]) -> Posterior:
        rows = list(dict.fromkeys(row for row, _ in ratings))
        place = {row: number for number, row in enumerate(rows)}
        said = Evidence(
            answers=tuple(Rating(image=place[row], rating=rating) for row, rating in ratings),
            ids=tuple(self.catalogue.ids[row] for row in rows),
            features=self.catalogue.features[rows],
        )
        return infer(self.taste, said)

    @cached_property
    def _row(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self.catalogue.ids)}


def _prior_of(config: TasteConfig, covariance: torch.Tensor) -> Taste:
    scalars = {**asdict(config), "dimensions": 0, "landmarks": 0}
    taste = Taste(TasteConfig(**scalars))
    taste.covariance.copy_(covariance)
    return taste

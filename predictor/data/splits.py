"""Splits of a dataset: train, and four held-out ones (paper, section 3.1).

    train        seen users, training images
    val_seen     seen users, validation images         test_seen    seen users, test images
    val_unseen   users held out for validation         test_unseen  users held out for the test

Invariant: a user of an unseen split has ratings in no other split, and no image of val_seen or test_seen has a training
rating; `overlaps` finds what violates it. All ratings of an unseen user are in the split, also those of training
images: they may be the few-shot context, while evaluation is on images without a training rating. (The paper's release
has only held-out images there.)
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val_seen", "val_unseen", "test_seen", "test_unseen")

MIN_USERS = 10
"""With fewer users none is held out: one of nine is a large part of the training ratings, and a small test."""

MIN_GROUPS = 20
"""With fewer prompts images are not held out by prompt: a tenth of a few is none, and a fifth hardly any."""

_USERS = (0.08, 0.14)
_IMAGES = (0.1, 0.2)
"""Shares held out for validation and for the test; in the paper 16 and 27 of 199 users, 609 and 914 of 5,077 images."""


def split_by_user_and_image(user_ids: Sequence[str], image_ids: Sequence[str], *, seed: int = 0) -> NDArray[np.str_]:
    """Seeded splits of the paper's kind for R ratings, given by their users' and images' ids.

    Where groups of images stay together, the groups' names stand in place of the images' ids.

    8% of the users make val_unseen and 14% test_unseen, at least one each; below `MIN_USERS` users
    there are none. Of the images 10% are for validation and 20% for the test, the same for all users. The
    result depends on the seed and on the sets of ids, not on the order of the rows.

    A seen user may have rated no training image, and evaluation on the seen splits has to leave that user out.
    """
    users, images = set(user_ids), set(image_ids)
    enough = len(users) >= MIN_USERS
    held_user = _held_out(users, "user", seed, _USERS if enough else (0.0, 0.0), least=1 if enough else 0)
    held_image = _held_out(images, "image", seed, _IMAGES, least=0)
    names = [
        f"{held_user[user]}_unseen"
        if user in held_user
        else f"{held_image[image]}_seen"
        if image in held_image
        else "train"
        for user, image in zip(user_ids, image_ids, strict=True)
    ]
    return np.array(names, "<U11")


def groups_of_images(
    image_ids: Sequence[str], group_ids: Sequence[object] | None, prompts: Sequence[str | None] | None
) -> list[str] | None:
    """Which images belong together, so that none of them may be judged where others were learnt from.

    By `group_ids` if they are given, such as the photograph that images are prints of. Otherwise images of one prompt
    belong together, where there are `MIN_GROUPS` prompts or more. An image without either is its own. None: every image
    stands alone.
    """
    if group_ids is None and len(set(prompts or ()) - {None, ""}) < MIN_GROUPS:
        return None
    kind, names = ("group", group_ids) if group_ids is not None else ("prompt", prompts or ())
    return [
        f"image {image}" if name in (None, "") else f"{kind} {name}"
        for image, name in zip(image_ids, names, strict=True)
    ]


def split_by_image(image: NDArray[np.int64], count: int, seed: int) -> NDArray[np.str_]:
    """Seen users, unseen images: of `count` images 70% are for training, 10% for validation, 20% for test."""
    order = np.random.default_rng([seed, 0x5B117]).permutation(count)
    share = np.empty(count)
    share[order] = (np.arange(count) + 0.5) / count
    of_image = np.select([share < 0.7, share < 0.8], ["train", "val_seen"], "test_seen")
    return of_image[image]


def overlaps(
    user: NDArray[np.int64], image: NDArray[np.int64], split: NDArray[np.str_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of held-out ratings that violate the splits: by their user, and by their image.

    A user of an unseen split must not have ratings in any other; of the two unseen splits, the test keeps the user. An
    image of val_seen or test_seen must not be in train.
    """
    unseen = np.isin(split, ("val_unseen", "test_unseen"))
    seen_users = np.unique(user[~unseen])
    tested = np.unique(user[split == "test_unseen"])
    users = (unseen & np.isin(user, seen_users)) | ((split == "val_unseen") & np.isin(user, tested))
    trained = np.unique(image[split == "train"])
    images = np.isin(split, ("val_seen", "test_seen")) & np.isin(image, trained)
    return np.flatnonzero(users), np.flatnonzero(images)


def _held_out(ids: set[str], what: str, seed: int, shares: tuple[float, float], *, least: int) -> dict[str, str]:
    """Id -> "val" or "test". Ids are ordered by a hash, so that the result does not depend on NumPy's version."""
    order = sorted(ids, key=lambda name: hashlib.sha256(f"{seed}:{what}:{name}".encode()).digest())
    val, test = (max(least, int(share * len(ids) + 0.5)) for share in shares)
    return dict.fromkeys(order[:val], "val") | dict.fromkeys(order[val : val + test], "test")

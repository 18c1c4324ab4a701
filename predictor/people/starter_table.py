"""starter.parquet: the images to ask a new person about first, with what a taste weighs of them."""

from collections.abc import Callable, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from predictor.encoders.encoding import Images
from predictor.people.evidence_table import image_ids
from predictor.taste.hierarchical import ImageFeatures

SCHEMA = pa.schema(
    {
        "list": pa.int64(),
        "place": pa.int64(),
        "image_id": pa.string(),
        "file": pa.string(),
        "prompt": pa.string(),
        "id": pa.string(),
        "generic": pa.float64(),
        "features": pa.list_(pa.float64()),
    }
)


def starter_table(
    lists: Sequence[Sequence[int]], table: pa.Table, images: Images, features: Callable[[Tensor], ImageFeatures]
) -> pa.Table:
    """The lists of rows of a dataset's images' table, the most telling list first.

    Parameters
    ----------
    features
        Of the images of some rows.
    """
    rows = []
    for number, chosen in enumerate(lists):
        places = torch.tensor(chosen, dtype=torch.int64)
        ids, looked = image_ids(images[places]), features(places)
        described = table.take(pa.array(chosen, pa.int64())).to_pylist()
        for place, row in enumerate(described):
            rows.append(
                {
                    "list": number,
                    "place": place,
                    "image_id": row["image_id"],
                    "file": row["file"],
                    "prompt": row.get("prompt"),
                    "id": ids[place],
                    "generic": float(looked.generic[place]),
                    "features": looked.values[place].tolist(),
                }
            )
    return pa.Table.from_pylist(rows, SCHEMA)

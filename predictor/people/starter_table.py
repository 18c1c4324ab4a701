"""starter.parquet: the images to ask a new person about first, with what a taste weighs of them."""

from collections.abc import Sequence

import pyarrow as pa

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


def starter_table(lists: Sequence[Sequence[int]], table: pa.Table, images: Images, features: ImageFeatures) -> pa.Table:
    """The lists of rows of a dataset's images' table, the most telling list first."""
    ids = image_ids(images)
    rows = []
    for number, chosen in enumerate(lists):
        described = table.take(pa.array(chosen, pa.int64())).to_pylist()
        for place, (image, row) in enumerate(zip(chosen, described, strict=True)):
            rows.append(
                {
                    "list": number,
                    "place": place,
                    "image_id": row["image_id"],
                    "file": row["file"],
                    "prompt": row.get("prompt"),
                    "id": ids[image],
                    "generic": float(features.generic[image]),
                    "features": features.values[image].tolist(),
                }
            )
    return pa.Table.from_pylist(rows, SCHEMA)

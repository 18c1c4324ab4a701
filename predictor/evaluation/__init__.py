"""How good a predictor is, and how one knows: measured on arrays, drawn, and written down."""

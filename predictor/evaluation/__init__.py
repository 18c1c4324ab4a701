"""Evaluation of a predictor: scores and baselines, metrics with intervals, figures, report."""

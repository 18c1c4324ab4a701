"""Scorers, one module for each library, which it imports only when it loads weights.

Importing a module needs neither the predictor (except for `pamela` and `feature_extractor`) nor torch or Ray, so that a
scorer whose library pins other versions can run in an environment of its own.
"""

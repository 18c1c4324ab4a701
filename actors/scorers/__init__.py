"""Scorers, one library a file. Each module imports without its library, and without the predictor, torch or Ray:
one whose library's pins clash with this project's runs in an environment that holds little else.
"""

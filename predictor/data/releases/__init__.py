"""Readers of the layouts in which ratings are released, one module each; `predictor.data.importing` calls them.

A layout's `read` returns every rating with its place in the source. It refuses only broken rows and rows without a
needed field; everything else is checked by `validation`, in the same way for all layouts.
"""

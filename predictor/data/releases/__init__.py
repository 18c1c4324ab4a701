"""The layouts in which ratings are released, one file each; `predictor.data.importing` makes datasets of them.

A layout's `read` finds its files, and gives every rating with the place where it stands. It judges
only what it alone can know – a row that is none, a field that is not there; all else is judged
in one place, for all layouts alike.
"""

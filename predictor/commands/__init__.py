"""The commands of `steer-predictor` as Python functions, which take paths and plain values.

A function has the options and defaults of its command. It prints nothing; it reports progress by calling
`progress(stage, done, total)`. Wrong input raises a ValueError with the line that the command would print.
"""

"""What each command of `steer-study` does, as a call: from paths and plain values to what the other rooms take.

A call has the command's options and defaults. It prints nothing: `progress` is told of each stage how much of it is
done. Whatever the command refuses is a ValueError with the command's own line. `elo` is `studies.fitting`.
"""

"""Who prefers what: blind studies of images, and Bradley–Terry with intervals that hold for others.

What each command of `steer-study` does, as a call. The names are those of `__init__.pyi`; `fit` does what `elo` does.
Each is loaded when it is first used, so that `import studies` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

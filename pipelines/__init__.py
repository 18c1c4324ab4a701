"""Steering: what `steer-batch` and `steer-batch publish` do, as a call.

The names are those of `__init__.pyi`. Each is loaded when it is first used, so that `import pipelines` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

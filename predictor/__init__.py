"""Learns people's taste in images: what each command of `steer-predictor` does, as a call, and the predictor itself.

The names are those of `__init__.pyi`. Each is loaded when it is first used, so that `import predictor` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

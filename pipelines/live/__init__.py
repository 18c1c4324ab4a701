"""steer-live: one person in a browser, from the first question about their taste to pictures and a blind proof.

`pipelines.live.serve` does what the command does. Nothing is loaded before it is called.
"""

from pipelines.live.serving import link_of, serve

__all__ = ["link_of", "serve"]

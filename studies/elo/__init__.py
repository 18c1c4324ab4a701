"""Who prefers what, from votes alone: Bradley–Terry on the Elo scale, intervals that hold, and a report."""

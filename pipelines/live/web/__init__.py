"""The pages of steer-live."""

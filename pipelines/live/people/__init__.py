"""The people of steer-live: their folders, what they answered, and what is believed of their taste."""

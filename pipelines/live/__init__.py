"""steer-live: one person in a browser, from the first question about their taste to pictures and a blind proof."""

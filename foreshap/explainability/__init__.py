"""Networks become maps of what they look at."""

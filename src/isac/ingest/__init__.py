"""Ways in. Every entry ends in intake.take_in."""

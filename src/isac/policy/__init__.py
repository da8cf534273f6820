"""What may happen to an object: facts in, a verdict with its reason out. Pure."""

"""`make bench`: what the server does, beside what bounds it and beside its neighbor."""

"""Ways out: the TAXII 2.1 server."""

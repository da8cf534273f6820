"""Sharing server of an election ISAC."""

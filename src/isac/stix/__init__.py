"""What a STIX 2.1 object is. Pure: no clock, no database, no network."""

"""All methods beside one another: the same requests, sets, seeds, instruments and attacks."""

"""Schema changes, one file each; `database.py` runs them."""

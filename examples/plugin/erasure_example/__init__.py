"""One of each kind that another package can bring; pyproject.toml declares them."""

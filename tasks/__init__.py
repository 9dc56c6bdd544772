"""Single verbs: each task lets one framework at a time touch the core."""

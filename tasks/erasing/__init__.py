"""From a plan to weight deltas and pictures."""

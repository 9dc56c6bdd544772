"""From a verdict to a released, verified model."""

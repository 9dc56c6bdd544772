"""From pictures to measurements and verdicts."""

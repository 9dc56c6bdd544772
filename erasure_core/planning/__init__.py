"""What a run does, decided before anything is trained: the parameters and the plan."""

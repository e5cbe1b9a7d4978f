"""Results of task models, and the paper's Tables 1 to 6."""

"""What any long training run needs: processes, checkpoints, optimiser, records."""

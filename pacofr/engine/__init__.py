"""What any training needs: processes, sampling, checkpoints, optimiser, records, the loop."""

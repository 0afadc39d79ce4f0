"""What every training shares: images, sampling, optimiser, schedule, checkpoints, the loop. Imports torch."""

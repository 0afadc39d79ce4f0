"""The part of a recipe that every training shares: length, schedule, optimiser, and the kinds of its numbers."""

"""A pretraining that really trains and can be held in a step."""

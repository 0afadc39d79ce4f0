"""Families of encoders in stages, each of which sees a coarser map."""

"""How fast pretraining is on this machine, side by side with other programs: `mimbench bench`."""

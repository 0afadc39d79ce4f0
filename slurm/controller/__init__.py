"""What Slurm's controller is asked, in which environment, and how its answers are checked before they are believed."""

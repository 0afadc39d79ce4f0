"""What Slurm's controller is asked, in which environment, and how its answers are proved before they are believed."""

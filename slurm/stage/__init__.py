"""What runs inside a job: one stage, on each of its nodes."""

"""What trainings cost by arithmetic, beside counted operations and published numbers."""

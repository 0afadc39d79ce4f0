"""What people read as text: aligned tables, progress, and names of others made harmless."""

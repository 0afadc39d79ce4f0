"""A leaderboard's rows, and its formats."""

"""The leaderboard and the comparison as self-contained HTML pages."""

"""The leaderboard before it has a format: its sections, groups, lines and the sentences around them."""

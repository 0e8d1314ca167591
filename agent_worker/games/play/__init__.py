"""Playing: a seeded search over saved inputs, the ends of rounds, goals, and rough handling."""

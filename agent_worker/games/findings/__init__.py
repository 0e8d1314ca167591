"""What is said to be wrong with a game, and the proof of each: shown again, minimised, told."""

"""How a game is begun, and which keys and gestures control it, each shown by experiment."""

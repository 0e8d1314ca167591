"""A game whose time the agent owns: played frame by frame, compared by experiment."""

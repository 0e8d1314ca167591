"""The command `testcast`: what it accepts, prints and exits with."""

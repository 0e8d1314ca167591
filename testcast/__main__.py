"""`python -m testcast` is the command `testcast`."""

from testcast.cli import main

if __name__ == "__main__":
    main()

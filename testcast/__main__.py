"""`python -m testcast` is the command `testcast`."""

from testcast.cli.main import main

if __name__ == "__main__":
    main()

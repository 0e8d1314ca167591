"""`python -m testcast` is the command `testcast`."""

import sys

# `python -m` puts the current directory first, where a file would hide the module of its name.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

if __name__ == "__main__":
    from testcast.entry import main

    main()

"""``python -m epmdless``."""

from epmdless.cli.entry import main

if __name__ == "__main__":
    main()

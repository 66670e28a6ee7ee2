"""``python -m epmdless``."""

from epmdless.cli.main import main

if __name__ == "__main__":
    main()

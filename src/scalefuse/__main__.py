"""``python -m scalefuse``: the same as the command ``scalefuse``, where scripts are not on the path."""

from scalefuse.cli.main import main

if __name__ == "__main__":
    main()

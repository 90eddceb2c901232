"""`primage` and `python -m primage`."""

from primage.cli.root import main

if __name__ == "__main__":
    main()

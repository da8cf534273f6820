"""Where `isac` begins."""

import gc


def main() -> None:
    # Loading makes many thousands of objects and an import millions, no cycles among them: the collector would only
    # search.
    gc.set_threshold(100_000, 50, 50)
    from isac import cli

    cli.main()


if __name__ == "__main__":
    main()

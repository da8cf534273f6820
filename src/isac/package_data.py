"""Where the folders that travel with the program are: feeds/, schemas/, alembic/."""

from importlib.resources import files
from pathlib import Path


def package_data(folder: str) -> Path:
    """The folder's path: inside the installed wheel, or at the top of the checkout."""
    package = Path(str(files("isac")))
    inside = package / "package_data" / folder
    return inside if inside.exists() else package.parents[1] / folder

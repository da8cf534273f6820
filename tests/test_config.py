"""Settings: what the environment may say, and what it is told where it says something else."""

from pathlib import Path

import pytest

from isac.config import Settings, settings
from isac.errors import Invalid

BOUNDS = [
    ("ISAC_PORT", "0", "65535", "from 0 to 65535"),
    ("ISAC_WORKERS", "1", "64", "from 1 to 64"),
    ("ISAC_MAX_CONTENT_LENGTH", "1", "1073741824", "from 1 to 1073741824"),
]


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        ("1", True),
        ("true", True),
        ("YES", True),
        ("on ", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
)
def test_yes_and_no_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch, text: str, is_on: bool) -> None:
    monkeypatch.setenv("ISAC_PUBLIC_COLLECTION", text)

    assert settings().public_collection is is_on


@pytest.mark.parametrize("text", ["", "2", "maybe", "y"])
def test_what_is_neither_is_told_what_is_wanted(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ISAC_PUBLIC_COLLECTION", text)

    with pytest.raises(Invalid) as told:
        settings()
    assert told.value.detail == (
        f"ISAC_PUBLIC_COLLECTION is {text!r}, and has to be 1 or 0, for yes or no. See docs/settings.md."
    )


@pytest.mark.parametrize(("name", "least", "most", "wanted"), BOUNDS)
def test_numbers_have_bounds_which_are_told(
    monkeypatch: pytest.MonkeyPatch, name: str, least: str, most: str, wanted: str
) -> None:
    for text in (least, most, f" {most} ", f"0{least}"):
        monkeypatch.setenv(name, text)
        assert getattr(settings(), name.removeprefix("ISAC_").lower()) == int(text)
    for text in (str(int(least) - 1), str(int(most) + 1), "9" * 23, "9" * 5000, "", "x", "1.5", "1_0", "\u0663"):
        monkeypatch.setenv(name, text)
        with pytest.raises(Invalid, match=f"{wanted}. See docs/settings.md.$") as told:
            settings()
        assert len(told.value.detail) < 200


def test_texts_and_folders_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISAC_HOME", "/srv/is ac")
    monkeypatch.setenv("ISAC_HOST", "::1")

    assert settings() == Settings(home=Path("/srv/is ac"), host="::1")

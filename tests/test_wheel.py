"""The wheel carries all that the program needs: built, installed elsewhere, it serves."""

import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import httpx2
import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[1]
#: seconds; nothing of this takes as long on a busy machine
PATIENCE = 120


def run(*words: str | Path) -> str:
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-build-isolation", "--no-deps")
    run(*pip, "--no-index", "--wheel-dir", folder, CHECKOUT)
    (built,) = folder.glob("isac-*.whl")
    return built


@pytest.mark.parametrize("folder", ["feeds", "schemas", "alembic"])
def test_the_folders_at_the_top_travel_in_it(wheel: Path, folder: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("isac/package_data/") for name in archive.namelist()}
    wanted = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert len(wanted) > 2
    assert wanted - inside == set()


def test_nothing_travels_that_is_not_ours_to_give(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}

    assert len(tops) == 2
    assert all(top == "isac" or top.endswith(".dist-info") for top in tops)


def test_installed_elsewhere_it_serves(wheel: Path, tmp_path: Path) -> None:
    venv, folder, tmp = (tmp_path / name for name in ("venv", "unrelated", "tmp"))
    folder.mkdir()
    tmp.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", venv / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The dependencies, but not the checkout: a .pth in a folder that itself came by a .pth is not read.
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(venv / "bin" / "python", "-c", "import isac; print(isac.__file__)")
    assert where.startswith(str(site))

    env = {name: value for name, value in os.environ.items() if not name.startswith(("ISAC_", "PG", "PYTHON"))}
    file = folder / "sandbox.env"
    process = subprocess.Popen(
        [venv / "bin" / "isac", "sandbox", "--env", file],
        cwd=folder,
        env=env | {"TMPDIR": str(tmp)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    try:
        while not file.exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        told = dict(each.split("=", 1) for each in shlex.split(file.read_text()))
        discovery = httpx2.get(
            f"{told['BASE']}/taxii2/",
            auth=(told["BUSER"], told["BPASS"]),
            headers={"Accept": "application/taxii+json;version=2.1"},
            trust_env=False,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        words, _ = process.communicate(timeout=PATIENCE)

    assert discovery.status_code == 200
    assert discovery.json()["default"].endswith(told["API_ROOT"])
    assert "Traceback" not in words
    assert list(tmp.iterdir()) == []

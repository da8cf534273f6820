"""Certificates of clients, made with openssl: authorities, and what they issue."""

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from isac import times
from isac.policy.actors import Fingerprint

#: of a key on a curve: made at once
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=30)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM files."""

    file: str
    key: str

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(Path(self.file).read_text())

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(hashlib.sha256(self.der).digest())

    def shown_to(self, trust: ssl.SSLContext) -> ssl.SSLContext:
        """A client's side of TLS that shows it."""
        trust.load_cert_chain(self.file, self.key)
        return trust


class Authority:
    """Vouches for clients."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self.own = Issued(str(self._folder / "ca.pem"), str(self._folder / "ca.key"))
        openssl(
            *("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", self.own.key, "-out", self.own.file),
        )

    def issues(
        self, name: str, *, usage: str = "clientAuth", begins: timedelta = -timedelta(days=1), ends: timedelta
    ) -> Issued:
        """A certificate for a client, valid from and until so long from now."""
        issued = Issued(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        asked, settings, known = (self._folder / f"{name}.{end}" for end in ("csr", "conf", "index"))
        openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", issued.key, "-out", str(asked))
        known.touch()
        settings.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={known}\nrand_serial=yes\ndefault_md=sha256\npolicy=any\n"
            f"new_certs_dir={self._folder}\nx509_extensions=client\n[any]\ncommonName=supplied\n"
            f"[client]\nbasicConstraints=CA:FALSE\nextendedKeyUsage={usage}\n"
        )
        now = times.now()
        since, until = (f"{now + span:%Y%m%d%H%M%SZ}" for span in (begins, ends))
        openssl(
            *("ca", "-batch", "-notext", "-config", str(settings), "-in", str(asked), "-out", issued.file),
            *("-cert", self.own.file, "-keyfile", self.own.key, "-startdate", since, "-enddate", until),
        )
        return issued

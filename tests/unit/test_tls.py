"""The files for TLS that a URL names."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from stream.errors import Wrong
from stream.tls import tls_of

Files = dict[str, str]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Ours, with a key in a file of its own."""
    ours = trustme.CA().issue_cert("daemon")
    paths = {"ssl_cert": tmp_path / "cert.pem", "ssl_key": tmp_path / "key.pem"}
    paths["ssl_cert"].write_bytes(b"".join(each.bytes() for each in ours.cert_chain_pems))
    ours.private_key_pem.write_to_path(str(paths["ssl_key"]))
    return {name: str(path) for name, path in paths.items()}


def refused(files: Files) -> str:
    with pytest.raises(Wrong) as raised:
        tls_of(files, "level1_url", "Level-1")
    assert raised.value.code == "level1_url"
    return str(raised.value)


def test_a_certificate_with_its_key_is_taken(files: Files) -> None:
    assert tls_of(files, "level1_url", "Level-1").check_hostname


def test_a_key_that_wants_a_password_is_refused_and_nobody_is_asked_for_it(files: Files) -> None:
    key = serialization.load_pem_private_key(Path(files["ssl_key"]).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    Path(files["ssl_key"]).write_bytes(locked)
    assert "a key without a password" in refused(files)


def test_a_key_without_a_certificate_is_refused(files: Files) -> None:
    del files["ssl_cert"]
    assert "names a key and no certificate" in refused(files)


def test_a_file_that_is_not_there_is_named(files: Files) -> None:
    assert "No such file or directory (ssl_ca=/absent.pem" in refused(files | {"ssl_ca": "/absent.pem"})

"""TLS as a URL says it behind its question mark: PEM files."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from stream.errors import Wrong

FILES = frozenset({"ssl_ca", "ssl_cert", "ssl_key"})
"""The authority that signed the server's certificate; our own certificate, and its key where it is in another file."""


def tls_of(files: Mapping[str, str], code: str, whose: str) -> ssl.SSLContext:
    """What checks the server and shows our own certificate.

    Parameters
    ----------
    files
        By name, as in `FILES`; without an authority those count that this machine trusts.
    code, whose
        Of the error: its code, and whose URL it is.

    Raises
    ------
    Wrong
        A file is not there or not PEM, a key does not fit or wants a password, or there is a key and no certificate.
    """
    told = ", ".join(f"{name}={file}" for name, file in sorted(files.items()))
    if "ssl_key" in files and "ssl_cert" not in files:
        raise Wrong(code, f"the URL of {whose} names a key and no certificate ({told})", "give ssl_cert, too")
    try:
        context = ssl.create_default_context(cafile=files.get("ssl_ca"))
        if "ssl_cert" in files:
            # Without any password OpenSSL would ask for one on the terminal, and a daemon wait there.
            context.load_cert_chain(files["ssl_cert"], files.get("ssl_key"), password="")
    except OSError as error:
        text = f"the files of the URL of {whose} cannot be used: {error.strerror or error} ({told})"
        raise Wrong(code, text, "give PEM files that this user may read, and a key without a password") from error
    return context

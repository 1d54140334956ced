"""Servers that show a certificate: whose word is taken for it, and what is wrong with one that is refused."""

import ssl
from pathlib import Path

from saga.telemetry.redaction import Words, chain

_REFUSALS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by nobody else, and is not itself trusted here",
    19: "it is not signed by a CA that is trusted here",
    20: "it is not signed by a CA that is trusted here",
    21: "it is not signed by a CA that is trusted here",
    62: "it is for another host name than the one in the address",
    64: "it is for another host than the IP address in the address",
}
"""By OpenSSL's codes, of https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/."""


def require_file(name: str, path: str) -> None:
    """See that a file is there.

    Raises:
        ValueError: it is not, or may not be read. What was named is not repeated.
    """
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no path"
        raise ValueError(f"{name} does not name a file that can be read: {why}") from error


def require_certificates(name: str, path: str) -> None:
    """See that a file is there, and has certificates by which others can be told.

    Raises:
        ValueError: it is not, or has not.
    """
    require_file(name, path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"{name} names a file without a certificate in PEM") from error


def refused_certificate(error: BaseException) -> Words | None:
    """What is wrong with the certificate that a server showed; None where that is not what went wrong."""
    for one in chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return Words(_REFUSALS.get(one.verify_code, f"OpenSSL says {one.verify_code} of it"))
    return None

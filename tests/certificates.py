"""Authorities and certificates that live as long as a test."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.host import give

DAY = timedelta(days=1)


class Authority:
    """Signs certificates; whoever trusts it trusts those. All lies in files that servers can read."""

    def __init__(self, folder: Path, name: str = "authority of a test") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _called(name)
        self.file = self._write(f"{name}.pem", _pem(self._certificate()))

    @property
    def trust(self) -> ssl.SSLContext:
        """A client that trusts this authority, and no other."""
        return ssl.create_default_context(cafile=self.file)

    def signed(self, *names: str, ends: timedelta = DAY, by_itself: bool = False) -> tuple[Path, Path]:
        """The files with a certificate for these names, and with its key.

        Args:
            names: or addresses.
            ends: from now.
            by_itself: signed with its own key instead of the authority's.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _called(names[0])
        signer = key if by_itself else self._key
        certificate = (
            _builder(subject, subject if by_itself else self._name, key, ends)
            .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = str(certificate.serial_number)
        return self._write(f"{file}.pem", _pem(certificate)), self._write(f"{file}.key", private)

    def server(self, *names: str, ends: timedelta = DAY, by_itself: bool = False) -> ssl.SSLContext:
        """A server with such a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.signed(*names, ends=ends, by_itself=by_itself))
        return context

    def _certificate(self) -> x509.Certificate:
        """Its own."""
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            _builder(self._name, self._name, self._key, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, content: bytes) -> Path:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        give(file)
        return file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

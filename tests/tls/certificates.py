"""Certificates as a test needs them: of a CA of its own, for a host, valid or not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from local.host import give

DAY = timedelta(days=1)


class Authority:
    """A CA whose certificate, and all that it signs, lie in a folder that servers can read."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        mine = self._builder(self._name, self._key.public_key(), datetime.now(UTC) + DAY)
        certificate = mine.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.file = self._write(f"{name}.pem", self._signed(certificate))

    def server(self, host: str, *, expired: bool = False) -> tuple[Path, Path]:
        """The files with the certificate and the key of a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = datetime.now(UTC) + (-DAY if expired else DAY)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        named = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = self._builder(name, key.public_key(), until).add_extension(named, critical=False)
        file = f"{host}{'-expired' if expired else ''}"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(f"{file}.pem", self._signed(certificate)), self._write(f"{file}.key", private)

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(until - 3 * DAY)
            .not_valid_after(until)
        )

    def _signed(self, certificate: x509.CertificateBuilder) -> bytes:
        return certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> Path:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_bytes(content)
        give(file)
        return file

"""A certificate authority that no system knows, and a server with its certificate for localhost."""

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True)
class Authority:
    """The authority's certificate, the server's context, and the names that clients asked the server for."""

    file: Path
    server: ssl.SSLContext
    names: list[str | None]

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """A new one, whose files are in this folder."""
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        subjects = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("Test CA", "server")]
        extensions: tuple[x509.ExtensionType, ...] = (
            x509.BasicConstraints(ca=True, path_length=0),
            x509.SubjectAlternativeName([x509.DNSName("localhost")]),
        )
        certificates = [
            x509.CertificateBuilder(subjects[0], subject, key.public_key(), number, now - day, now + day)
            .add_extension(extension, critical=False)
            .sign(keys[0], hashes.SHA256())
            for number, (subject, key, extension) in enumerate(zip(subjects, keys, extensions, strict=True), start=1)
        ]
        pem = serialization.Encoding.PEM
        (folder / "ca.pem").write_bytes(certificates[0].public_bytes(pem))
        key = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "server.pem").write_bytes(key + certificates[1].public_bytes(pem))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        return cls(folder / "ca.pem", context, names)

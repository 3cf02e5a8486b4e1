"""`.env` for containers, with secrets made up once; entries that are there stay."""

import base64
import secrets

from catalog.local.stack import ROOT

NAMES = ("POSTGRES_PASSWORD", "MINIO_PASSWORD", "FERNET_KEY", "JWT_SECRET")


def main() -> None:
    path = ROOT / ".env"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    given = {name for name, _, value in (line.partition("=") for line in lines) if value}
    lines = [line for line in lines if line.partition("=")[0] not in NAMES or line.partition("=")[0] in given]
    for name in NAMES:
        if name not in given:
            made = (
                base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
                if name == "FERNET_KEY"
                else secrets.token_hex(24)
            )
            lines.append(f"{name}={made}")
    path.touch(0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"secrets made up in {path}")  # noqa: T201


if __name__ == "__main__":
    main()
